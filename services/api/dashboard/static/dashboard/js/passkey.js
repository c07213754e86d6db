// The sign-in page's passkey button; allauth's script does the rest.
document.addEventListener("DOMContentLoaded", () => {
  window.allauth.webauthn.forms.loginForm({ ids: { login: "passkey_login", credential: "mfa_credential" } });
});
