"""Where a subscription or a topic of Pub/Sub is, how it is written down, and what failures of a call are told as."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from ...schemas.errors import ConfigError, PrivacyError, RunError

__all__ = ["EXTRA", "PubSubPlace", "PubSubRole", "failure_of_call", "no_credentials", "parse_pubsub_uri"]

SCHEME = "pubsub://"
EXTRA = "pubsub:// needs an extra that is not installed; pip install 'consentry[gcp]'"
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{1,99}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


class PubSubRole(StrEnum):
    """What an account does there, by the name of the role that lets it."""

    SUBSCRIBER = "roles/pubsub.subscriber"
    PUBLISHER = "roles/pubsub.publisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSubPlace:
    """A subscription or a topic.

    Attributes:
        project: Id of the project of Google Cloud.
        name: Id of the subscription or the topic.
    """

    project: str
    name: str

    @property
    def partition(self) -> str:
        """``PROJECT/NAME``."""
        return f"{self.project}/{self.name}"


def parse_pubsub_uri(text: str) -> PubSubPlace:
    """Returns the place of ``pubsub://PROJECT/NAME``.

    Raises:
        ConfigError: It is written otherwise; nothing of it is quoted.

    >>> parse_pubsub_uri("pubsub://shop-eu/orders-consentry").partition
    'shop-eu/orders-consentry'
    """
    project, _, name = text.removeprefix(SCHEME).partition("/")
    if not text.startswith(SCHEME) or not _PROJECT.fullmatch(project) or not _NAME.fullmatch(name):
        raise ConfigError("pubsub://: write pubsub://PROJECT/SUBSCRIPTION, by their ids alone")
    return PubSubPlace(project=project, name=name)


def no_credentials() -> ConfigError:
    """Returns the error that says that nobody is logged in."""
    return ConfigError(
        "pubsub://: there are no credentials of Google Cloud; run `gcloud auth application-default login`"
    )


def failure_of_call(error: Exception, place: PubSubPlace, role: PubSubRole) -> PrivacyError:
    """Returns what is told of a call that failed; nothing of its message is.

    Args:
        error: Of Google's libraries.
        place: That was called.
        role: In which it was called.
    """
    from google.api_core import exceptions as told
    from google.cloud.pubsub_v1.publisher.exceptions import MessageTooLargeError

    name = f"pubsub:{place.partition}"
    what, done = ("topic", "written") if role is PubSubRole.PUBLISHER else ("subscription", "read")
    match error:
        case told.NotFound():
            return RunError(f"{name}: there is no such {what}; create it, or check project and name")
        case told.PermissionDenied() | told.Unauthenticated():
            return RunError(f"{name}: may not be {done}; grant this account the role {role}")
        case MessageTooLargeError():
            return _too_large(name)
        case told.InvalidArgument() if role is PubSubRole.PUBLISHER:
            return _too_large(name)
        case _:
            kind = type(error).__name__
            return RunError(f"{name}: Pub/Sub cannot be asked ({kind}); see to the network and the credentials")


def _too_large(name: str) -> PrivacyError:
    return RunError(f"{name}: does not take a record; Pub/Sub takes 10 MB: drop large fields in the policy")
