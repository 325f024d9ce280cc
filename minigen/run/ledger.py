"""The losses of a run on their way to the host: from which device, from which ranks, and whether they are finite.

On a GPU a training step copies nothing to the host: its losses wait here, and so does a flag on the device, False from
the first loss or gradient on that is NaN or infinite; Adam changes no weight from then on.
"""

from minigen.adam import all_finite
from minigen.backend import array_module, on_device, to_host
from minigen.run.ranks import Ranks


class Ledger:
    """`params` say where the arrays live; `ranks`, to be set, which processes share a batch."""

    def __init__(self, params):
        self.xp, self.ranks = array_module(params.flat), Ranks()
        self.finite, self.unread = True, []

    def upload(self, *dicts) -> list[dict]:
        """The same arrays where the weights are."""
        return [on_device(self.xp, arrays) for arrays in dicts]

    def enter(self, grads, losses: dict, count: int):
        """A step's gradient and losses, means over `count` predictions -> those of all ranks together."""
        if self.ranks.size > 1:
            flat, losses = self.ranks.mean(grads.flat, losses, count)
            grads = grads.with_flat(flat)
        self.finite = self.finite & all_finite(grads.flat, losses["loss"])
        self.unread.append({"finite": self.finite} | losses)
        return grads, losses

    def read(self) -> tuple[list[dict], int]:
        """The losses of the unread steps, copied to the host all at once -> those before the first that is not finite,
        and how many steps from that one on changed nothing."""
        unread, self.unread = self.unread, []
        if not unread:
            return [], 0
        rows = to_host(self.xp.stack([value for step in unread for value in step.values()])).reshape(len(unread), -1)
        steps = [dict(zip(unread[0], row, strict=True)) for row in rows.tolist()]
        good = [step for step in steps if step.pop("finite")]
        self.finite = True
        return good, len(steps) - len(good)
