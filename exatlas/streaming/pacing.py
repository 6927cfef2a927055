"""How long the next poll may be held open, and how long to pause before it.

A server that answers as soon as there is something wants long holds: few requests, no delay. One that holds every
poll to its end wants short ones, and one that does not hold at all wants a pause between polls. Which of them it is
shows in the replies, so the pace is a pure function of what the last poll showed.
"""

from attrs import evolve, frozen

LONGEST_PAUSE_S = 2.0
FIRST_PAUSE_S = 0.25
LATE_SHARE = 0.9
"""A reply with chunks that took this share of its hold or more was held to the end although there was output."""
EARLY_SHARE = 0.5
"""An empty reply that took less than this share of its hold was not held."""


@frozen(kw_only=True)
class Pace:
    """The pace of one stream. The first poll asks for the shortest hold: look first, wait after."""

    hold_s: float
    pause_s: float = 0.0
    shortest_s: float
    longest_s: float
    late_replies: int = 0

    @classmethod
    def first(cls, shortest_s: float, longest_s: float) -> "Pace":
        """The pace of a stream that has seen nothing yet."""
        return cls(hold_s=shortest_s, shortest_s=shortest_s, longest_s=longest_s)

    def after(self, *, chunks: int, took_s: float, crowded: bool) -> "Pace":
        """The pace for the next poll.

        Args:
            chunks: How many chunks the last reply carried.
            took_s: How long it took from request to reply.
            crowded: Whether other streams are waiting for their turn; holds are kept short then.
        """
        late = self.late_replies + 1 if chunks > 1 and took_s >= self.hold_s * LATE_SHARE else self.late_replies
        if chunks:
            return self._changed(self._hold(crowded=crowded, late=late), 0.0, late)
        not_held = took_s < self.hold_s * EARLY_SHARE or self.hold_s == 0
        pause = min(max(self.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S) if not_held else 0.0
        longer = min(self.hold_s * 2, self.longest_s)
        return self._changed(min(longer, self._hold(crowded=crowded, late=late)), pause, self.late_replies)

    def without_hold(self) -> "Pace":
        """The pace for a server that refuses to be asked to hold."""
        return evolve(self, hold_s=0.0, shortest_s=0.0, longest_s=0.0)

    def _changed(self, hold_s: float, pause_s: float, late: int) -> "Pace":
        """Mostly there is no change: a pace is found once and kept."""
        if hold_s == self.hold_s and pause_s == self.pause_s and late == self.late_replies:
            return self
        return evolve(self, hold_s=hold_s, pause_s=pause_s, late_replies=late)

    def _hold(self, *, crowded: bool, late: int) -> float:
        return self.shortest_s if crowded or late > 1 else self.longest_s
