// Sends a form without leaving the page: what came of it in words, and keys by which a repeat counts once.

export function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Returns why it was refused, or nothing; goes where the answer says that what came of it is.
export async function post(form, button) {
  try {
    const answer = await fetch(button?.hasAttribute("formaction") ? button.formAction : form.action, {
      method: "POST", body: new FormData(form, button), headers: { Accept: "application/json" },
    });
    if (answer.status === 401) location.reload();
    const body = await answer.json().catch(() => ({}));
    if (answer.ok && body.location) location.assign(body.location);
    if (answer.ok) return "";
    return body.error?.message ?? "That did not work. Try again.";
  } catch {
    return "Slipway cannot be reached at the moment. Your text is still here.";
  }
}
