// The switch on "Notifications": asks the browser for a subscription and posts it with the form.

const form = document.querySelector("form[data-push]");

function say(text) {
  form.querySelector("[data-push-note]").textContent = text;
}

function bytesOf(text) {
  const padded = text.replace(/-/g, "+").replace(/_/g, "/") + "=".repeat((4 - (text.length % 4)) % 4);
  return Uint8Array.from(atob(padded), (character) => character.charCodeAt(0));
}

function nameOf(agent) {
  const browser = /Edg\//.test(agent) ? "Edge" : /Firefox\//.test(agent) ? "Firefox" : /Chrome\//.test(agent) ? "Chrome" : "Safari";
  const system = /Android/.test(agent) ? "Android" : /iPhone|iPad/.test(agent) ? "iOS" : /Windows/.test(agent) ? "Windows" : /Mac/.test(agent) ? "macOS" : "Linux";
  return `${browser} on ${system}`;
}

async function subscribe() {
  if (!("serviceWorker" in navigator) || !("PushManager" in window)) {
    // iOS has it only for sites that are on the home screen.
    say("This browser cannot show notices of a site that is closed. On an iPhone, add this site to the home screen first.");
    return;
  }
  if ((await Notification.requestPermission()) !== "granted") {
    say("This browser does not allow this site to show notices. Change that in its settings.");
    return;
  }
  const registration = await navigator.serviceWorker.register(form.dataset.pushWorker);
  const key = bytesOf(form.dataset.push);
  const options = { userVisibleOnly: true, applicationServerKey: key };
  const earlier = await registration.pushManager.getSubscription();
  if (earlier) await earlier.unsubscribe();
  const { endpoint, keys } = (await registration.pushManager.subscribe(options)).toJSON();
  const { p256dh, auth } = keys;
  form.elements.subscription.value = JSON.stringify({
    endpoint,
    keys: { p256dh, auth },
    label: nameOf(navigator.userAgent),
  });
  form.submit();
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  subscribe().catch((error) => say(`This browser could not subscribe: ${error.message}`));
});
