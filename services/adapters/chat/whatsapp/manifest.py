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
)
