"""Ways to sign in: password, passkey, one-time code, identity provider. The flows are django-allauth's."""
