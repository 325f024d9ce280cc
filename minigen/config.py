"""What a rung of the ladder is made of: numbers, and no code."""

from dataclasses import asdict, dataclass, replace

from minigen.errors import MinigenError
from minigen.metre import METRES, OLD_METRES, in_metre

CHOICES = {
    "keys": (12, 88),
    "loss": ("stop-gradient", "pause", "plain"),
    "metre": tuple(METRES),
    "time_order": ("low first", "high first"),
    "time_of": ("predicted", "input"),
}


@dataclass(frozen=True)
class Config:
    """One rung; the defaults are those of `simple`, the first. Lags count from the step being predicted."""

    keys: int = 88  # what is played: 88 keys, or 12 pitch classes
    lags: tuple[int, ...] = (4, 8, 16, 32, 48, 64, 96, 128)
    time_bits: int = 0  # of the place in the bar (4) and of the bar's number: minigen/ops.py
    time_order: str = "low first"  # or "high first", and
    time_of: str = "predicted"  # the step whose bits they are, or "input": for weights that come from elsewhere
    hidden: int = 300  # every LSTM but the voices', the decoder's and the capsules'
    reader: int = 0  # the history reader's first LSTM, where it is of another size
    aggregator: int = 0  # and its last
    skip: bool = False  # the last also reads the input
    dropout: float = 0.0  # of what the local LSTM and the aggregator give, while `ordered` is trained
    voices: int = 0  # 0: independent keys
    voice_hidden: int = 0  # 0: linear voices; of `ordered` the hidden layer
    capsule: int = 24  # units of a capsule, where there are any
    delays: tuple[int, ...] = ()  # of the capsules that read their own earlier state
    linked: bool = False  # such capsules read each other's state too
    interleaved: bool = False  # feedback's rounds share one state
    loss: str = "plain"  # or "stop-gradient", or "pause"
    pause_bias: float = 0.0  # of every voice's pause (or bans), at first: minigen/ladder/quiet.py
    decoder_hidden: int = 100
    key_shift: bool = False  # train on -6..+5 semitones
    metre: str = "4/4"
    held: bool = False  # cells say what is struck, not what is held
    sustain: int = 0  # units of the sustain decoder: minigen/sustain.py
    end_bits: int = 0  # of the steps that are left: minigen/ops.py
    fragment: int = 256  # predicted steps of a training fragment
    hop: int = 32  # from one fragment's start to the next

    @property
    def usual_time(self) -> bool:
        """Whether the rung's time bits are those that the octave decoder gets."""
        return (self.time_order, self.time_of) == ("low first", "predicted")

    @property
    def bits(self) -> int:
        """What the rung is told beside the music."""
        return self.time_bits + self.end_bits

    @property
    def bar(self) -> int:
        """Steps in a bar."""
        return METRES[self.metre][0]

    @property
    def past(self) -> int:
        """How many steps before the one predicted the model can see directly."""
        return max(1, *self.lags)

    def as_json(self) -> dict:
        return asdict(self) | {"lags": list(self.lags), "delays": list(self.delays)}

    def in_metre(self, metre: str) -> "Config":
        """This configuration, made for 4/4, in another metre: lags and delays follow the beat and the bar, fragments
        are as many bars."""
        lags = tuple(dict.fromkeys(in_metre(lag, metre) for lag in self.lags))
        # a delay of 3, 7, 15, ... is one step short of the lag that it stands for
        delays = tuple(
            dict.fromkeys(in_metre(d + 1, metre) - 1 if d % 4 == 3 else in_metre(d, metre) for d in self.delays)
        )
        spans = {name: in_metre(getattr(self, name), metre) for name in ("fragment", "hop")}
        return replace(self, metre=metre, lags=lags, delays=delays, **spans)

    def with_settings(self, settings: list[str]) -> "Config":
        """This configuration with settings such as "hidden=50", "delays=4,8" or "linked=true"."""
        fields, defaults = {}, {name: value for name, value in self.as_json().items() if name != "metre"}
        for setting in settings:
            name, _, value = setting.partition("=")
            default = defaults.get(name)
            try:
                if isinstance(default, bool):
                    fields[name] = {"true": True, "false": False}[value]
                elif isinstance(default, list):
                    fields[name] = [int(number) for number in value.split(",")]
                else:
                    fields[name] = type(default)(value)
                self.with_fields(fields)
            except (KeyError, TypeError, ValueError, MinigenError) as error:
                if name in defaults:
                    now = ",".join(map(str, default)) if isinstance(default, list) else str(default)
                    raise MinigenError(f"{setting!r} cannot be used: {name} is a value like {now}") from error
                raise MinigenError(
                    f"{setting!r} is no setting: give NAME=VALUE, with one of {', '.join(defaults)}; lists as 4,8,16"
                ) from error
        return self.with_fields(fields)

    def with_fields(self, fields: dict) -> "Config":
        """These fields, of a file, over this configuration: a field that is missing there is younger than the file.

        Raises MinigenError for one that is unknown, or of another type or range.
        """
        wrong = MinigenError("the configuration in this file is not one of this version of minigen")
        defaults = self.as_json()
        if isinstance(fields, dict) and fields.get("steps_a_bar") in list(OLD_METRES):  # of an older file
            old = {name: value for name, value in fields.items() if name != "steps_a_bar"}
            fields = old | {"metre": OLD_METRES[fields["steps_a_bar"]]}
        if not isinstance(fields, dict) or not set(fields) <= set(defaults):
            raise wrong
        fields = defaults | fields
        for name, default in defaults.items():
            value = fields[name]
            listed = isinstance(default, list)
            if listed and not (isinstance(value, list) and len(value) <= 128):
                raise wrong
            numbers, kind = (value, int) if listed else ([value], type(default))
            if any(type(n) is not kind or kind in (int, float) and not 0 <= n <= 4096 for n in numbers):
                raise wrong
        config = Config(**fields | {"lags": tuple(fields["lags"]), "delays": tuple(fields["delays"])})
        positive = (*config.lags, *config.delays, config.hidden, config.capsule, config.decoder_hidden)
        if not config.lags or min(*positive, config.fragment, config.hop) < 1 or config.dropout >= 1:
            raise wrong
        if max(config.time_bits, config.end_bits) > 30:
            raise wrong
        if any(getattr(config, name) not in choices for name, choices in CHOICES.items()):
            raise wrong
        return config
