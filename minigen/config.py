"""What a rung of the ladder is made of: numbers, and no code."""

from dataclasses import asdict, dataclass

from minigen.errors import MinigenError

FORMS = ("stop-gradient", "pause", "plain")


@dataclass(frozen=True)
class Config:
    """One rung. Lags count from the step being predicted; a bar has `steps_a_bar` steps of the grid."""

    keys: int = 12  # what the voices play: 12 pitch classes, or 88 keys
    lags: tuple[int, ...] = (4, 8, 16, 32, 48, 64, 96, 128)
    time_bits: int = 6  # bit k of step t is (t >> k) & 1
    hidden: int = 100  # reader, local and aggregator
    voices: int = 5
    voice_hidden: int = 40
    loss: str = "stop-gradient"  # or "pause", or "plain"
    decoder_hidden: int = 100
    key_shift: bool = True  # train on -6..+5 semitones
    steps_a_bar: int = 16
    held: bool = False  # cells say what is struck, not what is held
    fragment: int = 256  # predicted steps of a training fragment
    hop: int = 32  # from one fragment's start to the next

    @property
    def past(self) -> int:
        """How many steps before the one predicted the model can see directly."""
        return max(1, *self.lags)

    def as_json(self) -> dict:
        return asdict(self) | {"lags": list(self.lags)}

    def with_fields(self, fields: dict) -> "Config":
        """These fields, of a file, over this configuration: a field that is missing there is younger than the file.

        Raises MinigenError for one that is unknown, or of another type or range.
        """
        wrong = MinigenError("the configuration in this file is not one of this version of minigen")
        defaults = self.as_json()
        if not isinstance(fields, dict) or not set(fields) <= set(defaults):
            raise wrong
        fields = defaults | fields
        for name, default in defaults.items():
            value = fields[name]
            numbers = value if name == "lags" else [value]
            if name == "lags" and not (isinstance(value, list) and 0 < len(value) <= 128):
                raise wrong
            kind = int if name == "lags" else type(default)
            if any(type(n) is not kind or kind is int and not 0 <= n <= 4096 for n in numbers):
                raise wrong
        config = Config(**fields | {"lags": tuple(fields["lags"])})
        positive = (*config.lags, config.hidden, config.voices, config.voice_hidden, config.decoder_hidden)
        if min(*positive, config.fragment, config.hop, config.steps_a_bar) < 1:
            raise wrong
        if config.keys not in (12, 88) or config.loss not in FORMS or config.time_bits > 30:
            raise wrong
        return config
