"""What WhatsApp is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

MANIFEST = Manifest(
    kind="whatsapp",
    label="WhatsApp",
    max_text=4096,
    text_unit="chars",
    has_threads=False,
    typing_ttl_s=25.0,
    source="https://developers.facebook.com/docs/whatsapp/cloud-api/messages/text-messages",
    per_link_per_s=80.0,
    per_chat_per_s=1 / 6,
    chat_burst=45,
    rate_source="https://developers.facebook.com/docs/whatsapp/cloud-api/overview#throughput",
    setup=(
        "At developers.facebook.com/apps, create an app of the type Business and add WhatsApp. Its API Setup "
        "shows the phone number ID, App settings the app secret.",
        "In the business's settings, make a system user with the app and the WhatsApp account, and generate a "
        "token with whatsapp_business_messaging and whatsapp_business_management that does not expire.",
        "Under WhatsApp, Configuration, subscribe to the field messages. Then link the number: that sets its "
        "webhook, {hook_url}, which has to be reachable by https.",
        "To reach people later than 24 hours after they wrote, have a template with one variable approved, and "
        "name it here.",
    ),
)
