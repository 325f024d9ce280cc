"""29/12 `final`: `conditional` on 12 pitch classes, with five voices that are LSTMs, and the octave decoder.

What changed: the song is folded to 12 pitch classes, which cuts the cost by an order of magnitude and lets every song
be trained in all 12 keys; each voice is an LSTM of its own; the octave decoder of 28/12 brings the 88 keys back. Why:
"the local harmonies are still caught badly". How it ended: "some harmonies have appeared", though the notes were
shared out among the voices oddly, and nobody could say why it learned only with the stop-gradient trick.
"""

from minigen.config import Config
from minigen.ladder.conditional import Conditional


class Final(Conditional):
    name, date, config = "final", "29/12", Config()
