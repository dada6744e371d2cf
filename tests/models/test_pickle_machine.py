"""The reader of pickles agrees with Python's on plain data, and makes nothing of anything else."""

import collections
import pickle
import pickletools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_models.weight_formats.pickle_machine import read_pickle
from vlm_models.weight_formats.pickle_records import Calls, MalformedPickle, Name, Record
from vlm_models.weight_formats.torch_pickles import torch_calls

PROTOCOLS = (0, 1, 2, 3, 4, 5)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
keys = st.text() | st.integers() | st.binary() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(keys, inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
        | st.builds(bytearray, st.binary())
    ),
    max_leaves=12,
)


def read(data, calls=None):
    return read_pickle(memoryview(data), 0, calls or torch_calls())


class TestPlainData:
    @given(values, st.sampled_from(PROTOCOLS))
    def test_it_is_what_python_reads(self, value, protocol):
        data = pickle.dumps(value, protocol)
        found, end = read(data + b"what follows")
        assert end == len(data)
        assert without_calls(found) == without_calls(value)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_what_is_named_twice_is_one_object(self, protocol):
        inner = [1]
        inner.append(inner)
        found, _ = read(pickle.dumps([inner, inner, {"again": inner}], protocol))
        assert found[0] is found[1] is found[2]["again"] is found[0][1]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_long_values(self, protocol):
        value = {"text": "é" * 70_000, "bytes": b"\x00\xff" * 70_000, "number": 1 << 3000, "many": list(range(3000))}
        found, _ = read(pickle.dumps(value, protocol))
        assert {name: bytes(one) if name == "bytes" else one for name, one in found.items()} == value

    def test_long_bytes_are_a_view_of_the_file(self):
        data = pickle.dumps(b"x" * 100_000, protocol=4)
        found, _ = read(data)
        assert isinstance(found, memoryview) and found.obj is data

    def test_ordered_dicts_are_dicts(self):
        assert read(pickle.dumps(collections.OrderedDict(b=1, a=2)))[0] == {"b": 1, "a": 2}
        assert read(pickle.dumps(collections.defaultdict(list, a=[2])))[0] == {"a": [2]}


def without_calls(value):
    """Below protocol 3, byte strings and byte arrays are calls, some of which stay records: compare what they hold."""
    if isinstance(value, Record):
        return bytes(without_calls(value.arguments[0]) if value.arguments else b"")
    if isinstance(value, bytearray | bytes):
        return bytes(value)
    if isinstance(value, dict):
        return {without_calls(name): without_calls(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_calls(one) for one in value)
    return set(value) if isinstance(value, frozenset) else value


class Thing:
    def __init__(self, number):
        self.number = number


class Slotted:
    __slots__ = ("number",)


class Numbers(list):
    pass


class TestObjects:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_they_are_described(self, protocol):
        found, _ = read(pickle.dumps(Thing(5), protocol))
        assert isinstance(found, Record) and found.state == {"number": 5}
        assert isinstance(found.maker, Name) and found.maker.qualified == "Thing"

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_attributes_in_slots_and_members(self, protocol):
        slotted, numbers = Slotted(), Numbers([1, 2])
        slotted.number, numbers.name = 7, "x"
        first, second = read(pickle.dumps([slotted, numbers], protocol))[0]
        assert first.state["number"] == 7
        assert (second.members, second.state) == ([1, 2], {"name": "x"})

    @pytest.mark.parametrize(
        ("data", "called"),
        [
            (b"cos\nsystem\n(Vls\ntR.", "os.system"),
            (b"(cos\nsystem\nVls\no.", "os.system"),
            (b"(Vls\nios\nsystem\n.", "os.system"),
            (b"\x80\x02\x82\x01)R.", "copyreg.extension 1"),
            (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval"),
            (b"cbuiltins\ngetattr\n(cos\nopen\nVsystem\ntR(Vls\ntR.", "what another call returned"),
            (b"ctorch.hub\nload\n(Vx\ntR.", "torch.hub.load"),
            (b"cpathlib\nPath.touch\n(Vx\ntR.", "pathlib.Path.touch"),
        ],
    )
    def test_calls_are_refused_by_name(self, data, called):
        calls = torch_calls()
        read(data, calls)
        assert calls.refused == [called]

    def test_all_names_are_told_once(self):
        calls = Calls({})
        read(b"(cos\nsystem\n(Va\ntRcos\nsystem\n(Vb\ntRcnt\nremove\n)Rl.", calls)
        assert calls.refused == ["os.system", "nt.remove"]

    def test_nothing_is_called_by_what_looks_like_data(self):
        """A class may be described, even one that would act when Python makes it."""
        found, _ = read(b"\x80\x02csubprocess\nPopen\n)\x81}X\x01\x00\x00\x00aK\x01sb.")
        assert str(found.maker) == "subprocess.Popen" and found.state == {"a": 1}


class TestDamage:
    @given(values, st.sampled_from(PROTOCOLS), st.data())
    def test_any_change_gives_a_value_or_the_one_error(self, value, protocol, data):
        content = bytearray(pickle.dumps(value, protocol))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        try:
            read(bytes(content[: data.draw(st.integers(1, len(content)))]))
        except MalformedPickle as error:
            assert str(error)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b".",
            b"\x80\x04",
            b"0.",
            b"h\x05.",
            b"N(t",
            b"Q.",
            b"NQ.",
            b"a.",
            b"}(K\x01u.",
            b"NNs.",
            b"N]a.",
            b"\x80\x05\x97.",
            b"K\x01K\x02\x93.",
            b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
            b"I" + b"9" * 9999 + b"\n.",
            b"cos\nsystem\nK\x01R.",
        ],
        ids=repr,
    )
    def test_it_is_told(self, data):
        with pytest.raises(MalformedPickle):
            read(data)

    def test_a_memo_of_billions_of_places_takes_no_memory(self):
        assert read(b"\x80\x02K\x01r\xff\xff\xff\xff0j\xff\xff\xff\xff.")[0] == 1

    @pytest.mark.parametrize("last", [b"Ns", b"N\x86\x90"], ids=["key", "member"])
    def test_tuples_of_tuples_are_no_keys(self, last):
        """Forty of them, each holding the one before twice, would be hashed for hours."""
        nested = b"K\x01" + b"2\x86" * 40
        start = b"}" if last == b"Ns" else b"\x8f("
        with pytest.raises(MalformedPickle, match="tuple of tuples"):
            read(b"\x80\x04" + start + nested + last + b".")

    def test_more_opcodes_than_a_checkpoint_has(self, monkeypatch):
        monkeypatch.setattr("vlm_models.weight_formats.pickle_machine._MOST_OPCODES", 10)
        with pytest.raises(MalformedPickle, match="more than 10 opcodes"):
            read(pickle.dumps(list(range(20))))


def test_every_opcode_is_known_or_left_out_on_purpose():
    """Python's own list of opcodes: what it can write is read, or is one of five that no checkpoint has."""
    from vlm_models.weight_formats import pickle_machine

    handled = {name[1:].upper() for name in dir(pickle_machine._Machine) if name.startswith("_")}
    handled |= pickle_machine._PUSHES | pickle_machine._CONSTANTS.keys() | pickle_machine._SIZES.keys()
    missing = {opcode.name for opcode in pickletools.opcodes} - handled - {"PROTO", "FRAME", "STOP"}
    assert missing == {"NEXT_BUFFER", "READONLY_BUFFER"}
