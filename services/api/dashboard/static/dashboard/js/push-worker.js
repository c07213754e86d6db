// Runs in the browser while the site is closed: shows what is pushed, and opens the site when that is clicked.

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("push", (event) => {
  const told = event.data ? event.data.json() : {};
  const shown = { body: told.body || "", tag: told.tag || "notification", data: { url: told.url || "/" } };
  event.waitUntil(self.registration.showNotification(told.title || "Slipway", shown));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  // Only this site is ever opened, whatever was pushed.
  const url = new URL(event.notification.data.url, self.location.origin);
  event.waitUntil(self.clients.openWindow(url.origin === self.location.origin ? url.href : "/"));
});
