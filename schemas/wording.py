"""How people say what a policy holds: names, lists, time spans and degrees of coarseness."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from .info_types import Bucket, GeneralizeRule, IpPrefix, Prefix
from .policy import Policy

__all__ = ["coarseness", "join_words", "plain_name", "quoted_reason", "time_span", "with_article"]


def plain_name(name: str) -> str:
    """A name of the policy as a person would say it.

    >>> plain_name("birth_date")
    'birth date'
    """
    return name.replace("_", " ").replace("-", " ")


def with_article(name: str) -> str:
    """A name with “a” or “an” before it.

    >>> with_article("analyst"), with_article("support agent"), with_article("user"), with_article("underwriter")
    ('an analyst', 'a support agent', 'a user', 'an underwriter')
    """
    sounds_open = name[:1].lower() in tuple("aeiou") and not name.lower().startswith(("us", "uni", "eu"))
    return f"{'an' if sounds_open else 'a'} {name}"


def join_words(words: Iterable[str], last: str = "and") -> str:
    """Joins words as a sentence does.

    >>> join_words(["a", "b", "c"])
    'a, b and c'
    """
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} {last} {found[-1]}" if found else "nothing"


def quoted_reason(policy: Policy, purpose: str) -> str:
    """A purpose in the words that its customers read."""
    return f"“{policy.purposes[purpose].says}”"


def coarseness(rule: GeneralizeRule) -> str:
    """What is left of a value, as the end of “we keep only …”."""
    match rule.to:
        case Bucket(bucket=width):
            return f"which step of {width:g} it falls into"
        case Prefix(prefix=count):
            return f"its first {count} characters" if count > 1 else "its first character"
        case IpPrefix(ip_prefix=bits):
            return f"the network it belongs to (the first {bits} bits)"
        case "year":
            return "the year"
        case "month":
            return "the year and month"
        case _:
            return "the day"


def time_span(time: timedelta) -> str:
    """A time in days, hours or minutes.

    >>> time_span(timedelta(days=7))
    '7 days'
    """
    minutes = int(time.total_seconds() // 60)
    if minutes >= 2880:
        return f"{minutes // 1440} days"
    return f"{minutes // 60} hours" if minutes >= 120 else f"{minutes} minutes"
