// What every page has: menus, the navigation on a phone, keys that submit, copying, and times that stay true.

import { relativeTo } from "./formats.js";

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (menu !== except) menu.open = false;
  }
}

document.addEventListener("click", (event) => {
  closeMenus(event.target.closest("details[data-menu]"));
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = document.querySelector("details[data-menu][open]");
    closeMenus(null);
    open?.querySelector("summary").focus();
    setSide(false);
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    const form = event.target.closest("form[data-submit-keys]");
    if (form) {
      event.preventDefault();
      form.requestSubmit();
    }
  }
});

const side = document.querySelector("[data-side]");
const toggle = document.querySelector("[data-side-toggle]");

function setSide(isOpen) {
  side?.classList.toggle("is-open", isOpen);
  toggle?.setAttribute("aria-expanded", String(isOpen));
}

toggle?.addEventListener("click", () => setSide(!side.classList.contains("is-open")));

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) {
    event.preventDefault();
    return;
  }
  if (event.defaultPrevented || form.method !== "post") return;
  // A second click must not send the form again; going back in history finds the button usable.
  const buttons = form.querySelectorAll("button[type=submit]");
  queueMicrotask(() => {
    if (!event.defaultPrevented) buttons.forEach((button) => (button.disabled = true));
  });
});

window.addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("button[disabled]").forEach((button) => (button.disabled = false));
});

export function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

for (const area of document.querySelectorAll("textarea[data-composer]")) {
  area.addEventListener("input", () => fit(area));
  fit(area);
}

for (const code of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  code.after(button);
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-moment]")) {
    element.textContent = relativeTo(Date.parse(element.dateTime));
  }
}, 30000);
