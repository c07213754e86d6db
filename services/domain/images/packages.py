"""The packages that an agent's image has beyond its provider's own: names and versions, and nothing else.

What is accepted can be no option, no path, no address and no shell: a package manager reads each entry as one name.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

MAX_PACKAGES = 100

# A trailing minus would mean "remove" to apt. Source: apt-get(8), install.
_APT = r"^[a-z0-9][a-z0-9+.-]{0,98}[a-z0-9+](=[0-9A-Za-z][0-9A-Za-z.+:~-]{0,99})?$"
_PIP_VERSION = r"(===?|~=|!=|<=|>=|<|>)[0-9A-Za-z][0-9A-Za-z.*+!_-]{0,59}"
_PIP = (
    r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
    r"(\[[A-Za-z0-9][A-Za-z0-9._-]{0,39}(,[A-Za-z0-9][A-Za-z0-9._-]{0,39}){0,9}\])?"
    rf"({_PIP_VERSION}(,{_PIP_VERSION}){{0,3}})?$"
)
# A slash is part of a scope only: `user/repository` would be fetched from elsewhere. Source: npm-install(1).
_NPM = r"^(@[a-z0-9][a-z0-9._-]{0,98}/)?[a-z0-9][a-z0-9._-]{0,98}(@[\^~]?[0-9A-Za-z][0-9A-Za-z.+-]{0,79})?$"

AptPackage = Annotated[str, StringConstraints(pattern=_APT, max_length=200)]
PipPackage = Annotated[str, StringConstraints(pattern=_PIP, max_length=200)]
NpmPackage = Annotated[str, StringConstraints(pattern=_NPM, max_length=200)]


class Packages(BaseModel):
    """Packages by their manager: `ripgrep=13.0.0-4`, `requests==2.32.3`, `@types/node@22`. At most 100 in all."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    apt: list[AptPackage] = Field(default_factory=list, max_length=MAX_PACKAGES)
    pip: list[PipPackage] = Field(default_factory=list, max_length=MAX_PACKAGES)
    npm: list[NpmPackage] = Field(default_factory=list, max_length=MAX_PACKAGES)

    @model_validator(mode="after")
    def _order(self) -> Self:
        """Make two lists of the same packages equal, and refuse more than there may be."""
        self.apt, self.pip, self.npm = sorted(set(self.apt)), sorted(set(self.pip)), sorted(set(self.npm))
        if len(self.apt) + len(self.pip) + len(self.npm) > MAX_PACKAGES:
            raise ValueError(f"at most {MAX_PACKAGES} packages in all")
        return self

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is asked for beyond the provider's image."""
        return not (self.apt or self.pip or self.npm)


PACKAGE_KINDS = tuple(Packages.model_fields)


def is_package(kind: str, entry: str) -> bool:
    """Say whether an entry is one that a manager takes."""
    try:
        Packages.model_validate({kind: [entry]})
    except ValidationError:
        return False
    return True


def packages_of(stored: dict[str, Any]) -> Packages:
    """Return a row's packages."""
    return Packages.model_validate(stored or {})
