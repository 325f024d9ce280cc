"""A checkpoint holds everything, says what it is, and a damaged or foreign one is one sentence."""

import json
import zipfile

import numpy as np
import pytest

from minigen.adam import Moments
from minigen.errors import MinigenError
from minigen.ladder import LADDER
from minigen.run import checkpoint


@pytest.fixture
def saved(tmp_path):
    model = LADDER["final"]()
    params = model.init(3)
    moments = Moments(params.flat * 2, params.flat**2, 7)
    checkpoint.save(tmp_path / "a.npz", model, params, moments, licence="CC0 1.0", metrics={"loss": 0.5})
    return tmp_path / "a.npz", model, params, moments


def rewritten(path, change):
    """The same file with its header changed in place."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    header = json.loads(arrays["header"].tobytes())
    change(header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    return path


def test_what_is_saved_is_loaded(saved):
    path, model, params, moments = saved
    trained = checkpoint.load(path)
    assert (trained.model.name, trained.model.config) == ("final", model.config)
    assert (trained.params.flat == params.flat).all()
    assert (trained.moments.m == moments.m).all() and (trained.moments.v == moments.v).all()
    assert trained.moments.step == 7
    assert trained.header["licence"] == "CC0 1.0" and trained.header["metrics"] == {"loss": 0.5}


def test_weights_can_be_read_with_numpy_alone(saved):
    path, _, params, _ = saved
    with np.load(path, allow_pickle=False) as stored:
        assert (stored["weights/local.Wx"] == params["local.Wx"]).all()
        header = json.loads(stored["header"].tobytes())
    assert header["magic"] == "minigen checkpoint" and header["arrays"]["weights/keys.b"] == [[88], "<f4"]
    assert all(info.compress_type == zipfile.ZIP_STORED for info in zipfile.ZipFile(path).infolist())


def test_moments_can_be_left_out(saved, tmp_path):
    path, model, params, _ = saved
    checkpoint.save(tmp_path / "b.npz", model, params)
    assert checkpoint.load(tmp_path / "b.npz").moments is None
    assert (tmp_path / "b.npz").stat().st_size < path.stat().st_size / 2


def test_the_same_weights_give_the_same_bytes(saved, tmp_path):
    path, model, params, moments = saved
    checkpoint.save(tmp_path / "b.npz", model, params, moments, licence="CC0 1.0", metrics={"loss": 0.5})
    assert (tmp_path / "b.npz").read_bytes() == path.read_bytes()


def test_a_failed_write_leaves_the_old_file(saved):
    path, model, params, _ = saved
    before = path.read_bytes()
    with pytest.raises(TypeError):
        checkpoint.save(path, model, params, metrics={"not": object()})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
def test_cut_short(saved, part):
    path = saved[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(MinigenError, match="cut short or damaged"):
        checkpoint.load(path)


def test_one_damaged_byte(saved):
    path = saved[0]
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(MinigenError, match="cut short or damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"MThd\0\0\0\6"])
def test_another_kind_of_file(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(MinigenError, match="is not a minigen checkpoint"):
        checkpoint.load(tmp_path / "x.npz")


@pytest.mark.parametrize("arrays", [{"a": np.zeros(3)}, {"header": np.frombuffer(b"[1, 2]", np.uint8)}])
def test_another_npz(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(MinigenError, match="is not a minigen checkpoint"):
        checkpoint.load(tmp_path / "x.npz")


def test_no_such_file(tmp_path):
    with pytest.raises(MinigenError, match="there is no checkpoint"):
        checkpoint.load(tmp_path / "x.npz")


def test_another_version(saved):
    path = rewritten(saved[0], lambda header: header.update(version=2))
    with pytest.raises(MinigenError, match="version 2 and this minigen reads version 1"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.update(model="symphony"),
        lambda header: header.update(model=["final"]),
        lambda header: header.update(adam_step="seven"),
        lambda header: header.update(training=[1]),
        lambda header: header.update(config=None),
        lambda header: header.update(config={"shape": "round"}),
        lambda header: header["config"].update(keys=88),
        lambda header: header["config"].update(hidden=-1),
        lambda header: header["config"].update(hidden=10**9),
        lambda header: header["config"].update(lags=[]),
        lambda header: header["config"].update(hidden=101),
        lambda header: header["arrays"].update({"weights/keys.b": [[10**12], "<f4"]}),
        lambda header: header["arrays"].update({"weights/keys.b": [[88], "|O"]}),
        lambda header: header["arrays"].pop("weights/keys.b"),
        lambda header: header.pop("arrays"),
    ],
)
def test_a_header_that_does_not_fit(saved, change):
    """Found out before anything of the size it promises is allocated."""
    path = rewritten(saved[0], change)
    with pytest.raises(MinigenError):
        checkpoint.load(path)


def test_a_file_older_than_a_field_of_the_configuration(saved):
    """The field has the rung's own value."""
    path = rewritten(saved[0], lambda header: header["config"].pop("loss"))
    assert checkpoint.load(path).model.config == LADDER["final"].config


def test_weights_that_are_not_numbers(saved):
    path, model, params, _ = saved
    params.flat[5] = np.nan
    checkpoint.save(path, model, params)
    with pytest.raises(MinigenError, match="NaN or infinite"):
        checkpoint.load(path)
