"""Which image an agent's sandboxes start from."""

from __future__ import annotations

from services.domain.agents.models import Agent, Provider
from services.kit.environment import Environment


def image_of_agent(agent: Agent, env: Environment) -> str:
    """Return what an agent's sandboxes start from: its own derived image once there is one, else its provider's."""
    return agent.image or image_of(agent.provider, env)


def image_of(provider: str, env: Environment) -> str:
    """Return the image that has what a provider needs; those that need nothing special share the smallest one."""
    images = {
        Provider.CLAUDE: env.agent_image_claude,
        Provider.CODEX: env.agent_image_codex,
        Provider.OPENCODE: env.agent_image_opencode,
    }
    return images.get(Provider(provider), env.agent_image)
