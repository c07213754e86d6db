"""The images that are built of agents' packages, over REST."""

from __future__ import annotations

import uuid
from typing import Self

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Moment, Page, Shape
from services.domain.errors import AgentArchived, AgentImageMissing, AgentMissing, Invalid
from services.domain.images.actions import rebuild_image
from services.domain.images.models import AgentImage, ImageStatus
from services.domain.images.packages import Packages
from services.domain.images.queries import get_image, list_images


class ImageShape(Shape):
    """One build of an agent's packages. `number` counts an agent's builds; it uses the newest that is ready."""

    id: uuid.UUID
    agent_id: uuid.UUID
    number: int
    status: ImageStatus
    packages: Packages
    tag: str
    digest: str
    size_bytes: int
    error_code: str
    error_message: str
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None

    @classmethod
    def of(cls, image: AgentImage) -> Self:
        """Show a row."""
        return cls.model_validate(image)


class ImageWithLogShape(ImageShape):
    """A build with the end of its log, at most 64 KiB."""

    log: str


class AgentImages(Endpoint):
    """The builds of one agent."""

    tag = "agents"

    @operation(errors=(AgentMissing,))
    def get(self, call: Call, agent_id: uuid.UUID, query: PageQuery) -> Page[ImageShape]:
        """List an agent's builds, newest first."""
        return page_of(list_images(call.actor, agent_id), query, ImageShape.of)

    @operation(status=202, errors=(AgentMissing, AgentArchived, Invalid))
    def post(self, call: Call, agent_id: uuid.UUID) -> ImageShape:
        """Build an agent's packages anew; a build that is under way is answered as it is."""
        return ImageShape.of(rebuild_image(call.actor, agent_id))


class OneImage(Endpoint):
    """One build."""

    tag = "agents"

    @operation(errors=(AgentImageMissing,))
    def get(self, call: Call, image_id: uuid.UUID) -> ImageWithLogShape:
        """Show a build with its log."""
        return ImageWithLogShape.of(get_image(call.actor, image_id))
