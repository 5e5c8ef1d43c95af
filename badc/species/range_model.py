"""Where and when a species is to be expected: BirdNET 2.4's range model.

For a latitude, a longitude and a week of the year it gives each of BirdNET's 6,522 labels a score from 0 to 1, learnt
from eBird's checklists. BirdNET's own tools take a species as possible from a score of 0.03 on.

>>> week_of(date(2023, 6, 1))
21
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from badc.species.birdnet_files import range_model_file, read_labels
from badc.species.outside_range_model import OUTSIDE
from badc.system.texts import spelling

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float32]]

WEEKS = 48
WHOLE_YEAR = -1
DEFAULT_MIN_OCCURRENCE = 0.03
_ROWS_PER_CALL = 256  # each call takes 2 ms, and 0.6 ms for each row


def week_of(day: date) -> int:
    """Return the week of a date as the model counts: four a month, 1 to 48.

    The weeks begin on the 1st, 8th, 15th and 22nd, and the fourth lasts until the month ends: eBird's bar charts, from
    whose data the model was made, and HawkEars' occurrences (its `_get_week_num_from_date_str`) have the same.
    """
    return (day.month - 1) * 4 + min(4, (day.day - 1) // 7 + 1)


class RangeModel:
    """The range model, loaded; `labels` are those that it knows something of, in its own order.

    It was taught birds. Frogs, mammals, insects, noises and a few birds of very small range, which it expects nowhere,
    count as unknown (see `badc.species.outside_range_model`).

    Raises
    ------
    NotInstalledError
        When BirdNET is not installed.
    """

    def __init__(self, outside: frozenset[str] = OUTSIDE) -> None:
        found = [(place, label) for place, label in enumerate(read_labels()) if label.partition("_")[0] not in outside]
        self.labels = tuple(label for _, label in found)
        self._outputs = [place for place, _ in found]
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        # XNNPACK would say on stderr that it is there.
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._model = Interpreter(str(range_model_file()), experimental_op_resolver_type=plain)
        self._input = self._model.get_input_details()[0]["index"]
        self._output = self._model.get_output_details()[0]["index"]

    def scores(
        self,
        where: Sequence[tuple[float, float, int]],
        species: Sequence[int] | None = None,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> Array:
        """Return how likely each species is at each place and time: 0 to 1, of shape (places, species).

        `where` are latitude and longitude in degrees (WGS 84) and a week, 1 to 48, or `WHOLE_YEAR`. `species` are
        places in `labels`, by default all. `on_progress` gets the number of places done.
        """
        import numpy as np

        columns = np.array(self._outputs if species is None else [self._outputs[place] for place in species], np.intp)
        made = np.empty((len(where), len(columns)), np.float32)
        for first in range(0, len(where), _ROWS_PER_CALL):
            rows = np.array(where[first : first + _ROWS_PER_CALL], np.float32)
            self._model.resize_tensor_input(self._input, rows.shape)
            self._model.allocate_tensors()
            self._model.set_tensor(self._input, rows)
            self._model.invoke()
            made[first : first + len(rows)] = self._model.get_tensor(self._output)[:, columns]
            on_progress(first + len(rows))
        return made

    def find(self, names: Iterable[tuple[str | None, ...]]) -> list[int | None]:
        """Return for each species the place in `labels`, or None if it has none.

        A species is given by its names, such as label, code and name: a scientific name counts before a common one.
        Case and kinds of apostrophes do not matter.
        """
        scientific: dict[str, int] = {}
        common: dict[str, int] = {}
        for place, label in enumerate(self.labels):
            first, _, second = label.partition("_")
            scientific[spelling(first)] = common[spelling(second)] = place
        return [
            next((known[key] for known in (scientific, common) for key in _spelt(several) if key in known), None)
            for several in names
        ]


def _spelt(names: tuple[str | None, ...]) -> list[str]:
    return [spelling(name) for name in names if name]
