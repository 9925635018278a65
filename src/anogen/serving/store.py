"""What a service remembers: scores that it gave, verdicts of operators, states of watches.

Of a request nothing else is kept, unless an operator sends a picture along with a verdict.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from anogen.errors import DataError, MachineError, UsageError, first_line
from anogen.progress import say
from anogen.serving.tables import (
    FEEDBACK,
    SCORED,
    VERDICTS,
    WATCHES,
    Judged,
    Kept,
    Scored,
    metadata,
)

WAITING = 50_000
"""Rows that wait to be written, at most; further ones are lost to the store, and counted."""
EVERY_S = 0.2
"""How often rows are written."""
AT_ONCE = 5_000
SETTLED_S = 5.0
"""After which all rows with smaller numbers are there, in a database of several writers."""
MOST_PICTURES = 10_000
"""That are kept with verdicts, the last ones."""
FILE = b"SQLite format 3\0"
"""How a file of SQLite begins."""


@dataclass
class Store:
    """A database with a thread that writes to it; other methods may be called from any thread.

    Attributes:
        url: as SQLAlchemy takes it.
        keep_rows: scored items that are kept, the last ones.
        lost: rows that could not be written.
    """

    url: str
    keep_rows: int = 1_000_000
    lost: int = 0
    _queue: "Queue[Scored | None]" = field(default_factory=lambda: Queue(WAITING), repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)
    _engine: Any = field(default=None, repr=False)

    @classmethod
    def open(
        cls, where: str | Path, keep_rows: int = 1_000_000, *, existing: bool = False
    ) -> "Store":
        """A database, made where it is missing.

        Args:
            where: the path of a SQLite file, or any URL that SQLAlchemy takes.
            keep_rows: see the class.
            existing: make none.

        Raises:
            UsageError: no such kind of database.
            DataError: it is missing, and none is to be made.
            MachineError: it cannot be opened.
        """
        text = str(where)
        if "://" not in text:
            path = Path(where).absolute()
            if existing and not path.is_file():
                raise DataError(f"{where}: there is no store of a service")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise MachineError(f"{path}: cannot be made ({error.strerror})") from error
            text = f"sqlite:///{path}"
        store = cls(text, keep_rows)
        try:
            metadata.create_all(store.engine)
        except (NoSuchModuleError, ImportError, ArgumentError) as error:
            raise UsageError(f"{where}: no database that can be used ({first_line(error)})"
                             ) from error  # fmt: skip
        except SQLAlchemyError as error:
            raise MachineError(f"{where}: cannot be opened ({first_line(error)})") from error
        return store

    @property
    def path(self) -> Path | None:
        """Of the file, of a SQLite database."""
        url = sa.make_url(self.url)
        file = url.get_backend_name() == "sqlite" and url.database
        return Path(file) if file else None

    @property
    def engine(self) -> sa.Engine:
        """Of SQLAlchemy; each process makes its own."""
        if self._engine is None:
            self._engine = sa.create_engine(self.url)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _shared)
        return self._engine

    def forget_connections(self) -> None:
        """Before the process is forked: what is open in two processes breaks."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def start(self) -> None:
        """Let the thread that writes run; tables that have been removed are made again."""
        with suppress(SQLAlchemyError):  # each use will say so
            metadata.create_all(self.engine)
        self._thread = threading.Thread(target=self._write, name="store", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self.forget_connections()

    def keep(self, rows: Sequence[Scored]) -> None:
        """Let the thread write rows soon; never waits."""
        for row in rows:
            try:
                self._queue.put_nowait(row)
            except Full:
                self.lost += 1

    def _write(self) -> None:
        since_pruned, going = 0, True
        while going:
            rows: list[Scored] = []
            end = time.monotonic() + EVERY_S
            while len(rows) < AT_ONCE and (left := end - time.monotonic()) > 0:
                try:
                    row = self._queue.get(timeout=left)
                except Empty:
                    break
                if row is None:
                    going = False
                    break
                rows.append(row)
            if not rows:
                continue
            self._insert(rows)
            since_pruned += len(rows)
            if since_pruned * 20 > self.keep_rows:
                self._prune()
                since_pruned = 0

    def _insert(self, rows: Sequence[Scored]) -> None:
        names = [column.name for column in SCORED.columns if column.name != "number"]
        values = [
            {
                **{name: getattr(row, name) for name in names},
                "statistics": json.dumps(row.statistics),
            }
            for row in rows
        ]
        for again in (False, True):
            try:
                if again:  # its file may have been removed: make it again
                    self.forget_connections()
                    metadata.create_all(self.engine)
                with self.engine.begin() as connection:
                    connection.execute(SCORED.insert(), values)
                return
            except SQLAlchemyError as error:
                if again:
                    self.lost += len(rows)
                    say(f"the store could not be written: {first_line(error)}")

    def _prune(self) -> None:
        try:
            with self.engine.begin() as connection:
                last = connection.execute(sa.select(sa.func.max(SCORED.c.number))).scalar() or 0
                connection.execute(SCORED.delete().where(SCORED.c.number <= last - self.keep_rows))
        except SQLAlchemyError as error:
            say(f"the store could not be pruned: {first_line(error)}")

    def scored(self, after: int = 0, most: int = AT_ONCE) -> list[Scored]:
        """Rows in the order in which they were written, after a number."""
        query = sa.select(SCORED).where(SCORED.c.number > after).order_by(SCORED.c.number)
        if self.engine.dialect.name != "sqlite":  # where rows may be seen before earlier ones are
            query = query.where(SCORED.c.time <= time.time() - SETTLED_S)
        with self.engine.connect() as connection:
            return [_scored(row) for row in connection.execute(query.limit(most)).mappings()]

    def find(self, item: str) -> Scored | None:
        """A row by its item's name."""
        with self.engine.connect() as connection:
            row = connection.execute(
                sa.select(SCORED).where(SCORED.c.item == item)
            ).mappings().first()  # fmt: skip
        return None if row is None else _scored(row)

    def judge(
        self, item: str, verdict: str, note: str = "", picture: bytes | None = None
    ) -> Judged | None:
        """Keep what an operator says of an item; a later verdict takes the place of an earlier.

        A picture that came with an earlier one stays, unless another comes.

        Returns:
            None where there is no such item.
        """
        scored = self.find(item)
        if scored is None:
            return None
        judged = Judged(item, time.time(), verdict, note, scored.model, scored.score,
                        scored.p_value, scored.label)  # fmt: skip
        with self.engine.begin() as connection:
            if picture is None:
                earlier = sa.select(FEEDBACK.c.picture).where(FEEDBACK.c.item == item)
                picture = connection.execute(earlier).scalar()
            connection.execute(FEEDBACK.delete().where(FEEDBACK.c.item == item))
            connection.execute(FEEDBACK.insert(), {**asdict(judged), "picture": picture})
            if picture is not None:
                last = sa.select(FEEDBACK.c.time).where(FEEDBACK.c.picture.is_not(None))
                oldest = connection.execute(
                    last.order_by(FEEDBACK.c.time.desc()).offset(MOST_PICTURES).limit(1)
                ).scalar()
                if oldest is not None:
                    without = FEEDBACK.update().where(FEEDBACK.c.time <= oldest)
                    connection.execute(without.values(picture=None))
        return judged

    def verdicts(self, model: str | None = None) -> list[Judged]:
        """All verdicts, or those on a model, the first one first."""
        names = list(Judged.__dataclass_fields__)
        query = sa.select(*(FEEDBACK.c[name] for name in names)).order_by(FEEDBACK.c.time)
        if model is not None:
            query = query.where(FEEDBACK.c.model == model)
        with self.engine.connect() as connection:
            return [Judged(**row) for row in connection.execute(query).mappings()]

    def pictures(self, model: str | None = None) -> Iterator[tuple[Judged, bytes]]:
        """Verdicts that came with a picture, with the content of its file."""
        for judged in self.verdicts(model):
            with self.engine.connect() as connection:
                content = connection.execute(
                    sa.select(FEEDBACK.c.picture).where(FEEDBACK.c.item == judged.item)
                ).scalar()
            if content is not None:
                yield judged, content

    def agreement(self, model: str) -> dict[str, int]:
        """How verdicts and labels agree: of flagged and of other items, how many were good or bad.

        Keys: `flagged_bad` (found), `flagged_good` (false alarms), `passed_bad` (missed) and
        `passed_good`.
        """
        counts = {f"{label}_{verdict}": 0 for label in ("flagged", "passed")
                  for verdict in VERDICTS}  # fmt: skip
        kinds = (FEEDBACK.c.label, FEEDBACK.c.verdict)
        query = sa.select(*kinds, sa.func.count()).where(FEEDBACK.c.model == model)
        with self.engine.connect() as connection:
            for label, verdict, count in connection.execute(query.group_by(*kinds)):
                counts[f"{'flagged' if label else 'passed'}_{verdict}"] = count
        return counts

    def save_watches(self, kept: Sequence[Kept]) -> None:
        """Keep the states of watches, all or none."""
        with self.engine.begin() as connection:
            for each in kept:
                where = (WATCHES.c.model == each.model) & (WATCHES.c.stream == each.stream)
                values = {**asdict(each), "summary": json.dumps(each.summary)}
                connection.execute(WATCHES.delete().where(where))
                connection.execute(WATCHES.insert(), values)

    def watches(self) -> list[Kept]:
        """The watches as they were kept."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(WATCHES).order_by(*WATCHES.primary_key)).mappings()
            return [Kept(**{**row, "summary": json.loads(row["summary"])}) for row in rows]

    def summaries(self) -> list[dict[str, Any]]:
        """What the watches have seen: `Watch.summary` with model, stream and version."""
        names = ("model", "stream", "version", "summary")
        query = sa.select(*(WATCHES.c[name] for name in names)).order_by(*WATCHES.primary_key)
        with self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [{**row, **json.loads(row.pop("summary"))} for row in rows]


def is_store(where: str) -> bool:
    """Whether a name is that of a store: a URL, or a SQLite file."""
    if "://" in where:
        return True
    try:
        with Path(where).open("rb") as file:
            return file.read(len(FILE)) == FILE
    except OSError:
        return False


def _scored(row: Mapping[Any, Any]) -> Scored:
    return Scored(**{**row, "statistics": json.loads(row["statistics"])})


def _shared(connection: Any, _: Any) -> None:
    """Let several processes use one SQLite file, each waiting for the others a while."""
    cursor = connection.cursor()
    for line in ("journal_mode=WAL", "busy_timeout=10000", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {line}")
    cursor.close()
