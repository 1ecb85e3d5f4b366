"""A Pub/Sub subscription as raw messages that can be read again by number until they are processed.

Pub/Sub never gives again what was acknowledged. So what comes is stored first, sealed (``received``), and acknowledged
when it is on the disk; what it is not acknowledged for comes again, and is known by its id. The numbers under which it
is stored are the offsets. Threads pull ahead into memory, within limits; only the thread of the stream stores, so
that nothing is written to an output that the stream does not hold.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ...schemas.errors import ConfigError, PrivacyError, RecordsGoneError
from .pubsub_place import EXTRA, PubSubPlace, PubSubRole, failure_of_call, no_credentials
from .received import RECEIVED, Received, ReceivedStore, StoreOpener
from .sources import Messages, Offsets, Part

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import SubscriberClient

__all__ = ["PubSubTopic", "open_pubsub_topic"]

ANSWERS_LOGGER = "google.pubsub_v1.services.subscriber.transports.grpc"
EMULATOR = "PUBSUB_EMULATOR_HOST"
PULLERS = 3
MOST_PULLED = 1_000
"""Messages of one answer; Pub/Sub gives no more."""
PULL_SECONDS = 30.0
FIRST_SECONDS = 5.0
"""How long the first look waits for an answer."""
PAUSE_SECONDS = 0.2
"""Before a pull that failed is tried again."""
MOST_AHEAD = 20_000
MOST_BYTES_AHEAD = 64 << 20
ACK_SECONDS = 10.0
CLOSE_SECONDS = 5.0


def open_pubsub_topic(place: PubSubPlace, *, store: StoreOpener) -> PubSubTopic:
    """Returns the subscription, open; nothing is pulled before it is looked at.

    Args:
        place: Where it is.
        store: Opens the store of a subscription; asked when it is first used, and then the output must be locked.

    Raises:
        ConfigError: The extra is missing, or there are no credentials.
    """
    try:
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.pubsub_v1 import SubscriberClient
    except ModuleNotFoundError:
        raise ConfigError(EXTRA) from None
    try:
        client = _emulated(os.environ[EMULATOR]) if os.environ.get(EMULATOR) else SubscriberClient()
    except GoogleAuthError:
        raise no_credentials() from None
    # At its lowest level the library logs whole answers, if an environment variable says so.
    logging.getLogger(ANSWERS_LOGGER).setLevel(logging.INFO)
    return PubSubTopic(place, client, store=store)


def _emulated(address: str) -> SubscriberClient:
    """Returns a client of an emulator that takes answers of any size, as it does of Pub/Sub; its own takes 4 MB."""
    import grpc
    from google.cloud.pubsub_v1 import SubscriberClient
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

    channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


class PubSubTopic:
    """A ``MessageTopic`` of one partition; shared by the threads of a process. Make it with ``open_pubsub_topic``.

    Args:
        place: Of the subscription.
        client: Closed with it.
        store: Opens the store.
    """

    def __init__(self, place: PubSubPlace, client: SubscriberClient, *, store: StoreOpener) -> None:
        self._place = place
        self._open = store
        self._store: ReceivedStore | None = None
        self._lock = threading.Lock()
        self._puller = _Puller(client, place)

    @property
    def name(self) -> str:
        """``pubsub:PROJECT/SUBSCRIPTION``."""
        return f"pubsub:{self._place.partition}"

    def first(self) -> Offsets:
        """Returns the number of the oldest message that is stored."""
        return {self._place.partition: self._opened().first}

    def ends(self, done: Offsets) -> Offsets:
        """Stores what has come, if there is room, has it acknowledged, and returns the number behind it.

        Args:
            done: Where reading goes on; what is stored below is processed.

        Raises:
            RecordsGoneError: The store is older than what was processed.
            RunError: Pub/Sub cannot be asked.
            StoreError: The disk refused; nothing was acknowledged.
        """
        store, start = self._opened(), done.get(self._place.partition, 0)
        if store.end < start:
            raise RecordsGoneError(
                f"{self._place.partition}: {RECEIVED} ends at message {store.end}, and was read to {start} before; "
                "restore the private folder of the output from one backup, or begin a new --out"
            )
        if store.first < start:
            store.forget(start)
        if store.has_room:
            self._take_in(store)
        return {self._place.partition: store.end}

    def messages(self, lane: int, parts: Sequence[Part]) -> Iterator[Messages]:
        """Yields the messages of some parts, the same ones each time until they are processed.

        Raises:
            IntegrityError: A stored message was changed.
            RecordsGoneError: One is not stored, or its time is over.
        """
        for part in parts:
            if part.partition != self._place.partition:
                raise RecordsGoneError(f"{part.partition}: is another subscription; go on with it, or name a new --out")
            yield from self._opened().read(part.start, part.end)

    def commit(self, offsets: Offsets) -> None:
        """Removes what is processed."""
        if self._place.partition in offsets:
            self._opened().forget(offsets[self._place.partition])

    def close(self) -> None:
        """Stops pulling, gives back what is not stored, and closes the store."""
        self._puller.close()
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _opened(self) -> ReceivedStore:
        with self._lock:
            if self._store is None:
                self._store = self._open(self._place.partition)
            return self._store

    def _take_in(self, store: ReceivedStore) -> None:
        pulled = self._puller.pulled()
        if pulled:
            store.add([each.message for each in pulled])
            self._puller.acknowledge([each.ack_id for each in pulled])


@dataclass(frozen=True, slots=True)
class _Pulled:
    """A message, and by what it is acknowledged."""

    message: Received
    ack_id: str


class _Inbox:
    """What was pulled and is not stored; shared by threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pulled: list[_Pulled] = []
        self._bytes = 0
        self._failure: PrivacyError | None = None
        self._answered = False
        self._closed = False

    def wait_for_room(self) -> bool:
        """Returns True when more may be pulled, and False when nothing is to be pulled any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room())
            return not self._closed

    def put(self, pulled: Sequence[_Pulled]) -> None:
        """Takes in an answer."""
        with self._changed:
            self._pulled += pulled
            self._bytes += sum(len(each.message.value) for each in pulled)
            self._failure, self._answered = None, True
            self._changed.notify_all()

    def fail(self, failure: PrivacyError) -> None:
        """Takes in that there is no answer."""
        with self._changed:
            self._failure, self._answered = failure, True
            self._changed.notify_all()

    def take(self, seconds: float) -> list[_Pulled]:
        """Returns all that was pulled.

        Args:
            seconds: How long to wait for the first answer.

        Raises:
            RunError: There was nothing, because pulling failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._answered or self._closed, seconds)
            self._answered = True
            failure, self._failure = self._failure, None
            if failure is not None and not self._pulled:
                raise failure
            pulled, self._pulled, self._bytes = self._pulled, [], 0
            self._changed.notify_all()
            return pulled

    def close(self) -> list[_Pulled]:
        """Has nothing more be pulled, and returns what is left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left, self._pulled = self._pulled, []
            return left

    def _has_room(self) -> bool:
        return len(self._pulled) < MOST_AHEAD and self._bytes < MOST_BYTES_AHEAD


class _Puller:
    """Pulls and acknowledges in threads of its own, which begin when something is asked for.

    Args:
        client: Closed with it.
        place: Of the subscription.
    """

    def __init__(self, client: SubscriberClient, place: PubSubPlace) -> None:
        self._client = client
        self._place = place
        self._path = client.subscription_path(place.project, place.name)
        self._inbox = _Inbox()
        self._acks: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def pulled(self) -> list[_Pulled]:
        """Returns what came since it was asked last.

        Raises:
            RunError: Nothing did, because Pub/Sub cannot be asked.
        """
        if not self._threads:
            targets = [self._acknowledge_all, *[self._pull_all] * PULLERS]
            self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
            for thread in self._threads:
                thread.start()
        return self._inbox.take(FIRST_SECONDS)

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Has messages acknowledged, in the background; what gets lost of it comes again and is known."""
        for start in range(0, len(ack_ids), MOST_PULLED):
            self._acks.put(ack_ids[start : start + MOST_PULLED])

    def close(self) -> None:
        """Acknowledges what is to be, gives back what is left, and closes the client."""
        self._closing.set()
        left = self._inbox.close()
        self._acks.put(None)
        if self._threads:
            self._threads[0].join(CLOSE_SECONDS)
        for start in range(0, len(left), MOST_PULLED):
            self._give_back([each.ack_id for each in left[start : start + MOST_PULLED]])
        self._client.close()  # which ends the pulls that wait for an answer
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)

    def _pull_all(self) -> None:
        from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError

        while self._inbox.wait_for_room():
            try:
                self._inbox.put(self._pull())
            except DeadlineExceeded:
                self._inbox.put(())
            except (GoogleAPICallError, GoogleAuthError, ValueError) as error:  # the last: the client is closed
                self._inbox.fail(failure_of_call(error, self._place, PubSubRole.SUBSCRIBER))
                self._closing.wait(PAUSE_SECONDS)

    def _pull(self) -> list[_Pulled]:
        from google.cloud.pubsub_v1.types import PullResponse

        request = {"subscription": self._path, "max_messages": MOST_PULLED}
        answer = PullResponse.pb(self._client.pull(request=request, retry=None, timeout=PULL_SECONDS))
        return [
            _Pulled(Received(each.message.message_id, each.message.data), each.ack_id)
            for each in answer.received_messages
        ]

    def _acknowledge_all(self) -> None:
        while (ack_ids := self._acks.get()) is not None:
            self._try(self._client.acknowledge, {"ack_ids": ack_ids})

    def _give_back(self, ack_ids: Sequence[str]) -> None:
        self._try(self._client.modify_ack_deadline, {"ack_ids": ack_ids, "ack_deadline_seconds": 0})

    def _try(self, call: Callable[..., Any], request: dict[str, Any]) -> None:
        """Calls, and leaves it at that where it fails: pulling fails as well, and says so."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            call(request={"subscription": self._path, **request}, timeout=ACK_SECONDS)
        except (GoogleAPIError, GoogleAuthError, ValueError):
            return
