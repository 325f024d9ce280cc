"""29/12 `final`: `conditional` on 12 pitch classes, with five voices that are LSTMs, and the octave decoder.

What changed: the song is folded to 12 pitch classes, so that every song can be trained in all 12 keys; each voice is an
LSTM of its own; the octave decoder of 28/12 brings the 88 keys back. Why: 12 classes, the diary says, cost an order of
magnitude less. How it ended: "some harmonies have shown up", though "the notes were still shared out among the voices
oddly".
"""

from minigen.config import Config
from minigen.ladder.conditional import Conditional


class Final(Conditional):
    name, date, config = "final", "29/12", Config()
