"""The metres: how long a bar and a beat are, in steps of a 16th."""

METRES = {"4/4": (16, 4), "3/4": (12, 4), "6/8": (12, 6), "none": (1, 1)}  # name -> steps a bar, steps a beat

OLD_METRES = {16: "4/4", 12: "3/4", 1: "none"}  # of older files, by steps a bar


def in_metre(steps: int, metre: str) -> int:
    """A span of 4/4 in another metre: of whole bars as many bars, under a bar as many beats, others as they are; in
    "none" all are as they are.

    Lags 4, 8, 16, 32, ... (a beat, two, a bar, two, ...) are 4, 8, 12, 24, ... in 3/4, and 6, 12, 12, 24, ... in 6/8.
    """
    bar, beat = METRES[metre]
    if metre == "none":
        return steps
    if steps % 16 == 0:
        return steps // 16 * bar
    return steps // 4 * beat if steps < 16 and steps % 4 == 0 else steps
