"""Ways to damage a valid file: its bytes, the values of a JSON or TOML document, the fields of a protobuf."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from decisions import Decisions
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

INTEGERS = (0, 1, -1, 2, 3, 7, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "",
    " ",
    "\0",
    "a\nb",
    "\ud800",
    "/etc/passwd",
    "../../secret",
    "x" * 5000,
    "float32",
    "batch*batch",
    "{0}%s",
    "\N{SNOWMAN}",
)
BYTES = (b"", b"\0", b"\xff\xfe", b"PK\x03\x04", b"\x80\x04\x95", b"x" * 300)
_WIDEST_CUT = 64


def damage_bytes(content: bytes, decisions: Decisions) -> bytes:
    """Flip, cut, repeat or put in some bytes."""
    damaged = bytearray(content)
    at, length = decisions.below(len(damaged) + 1), 1 + decisions.below(_WIDEST_CUT)
    kind = decisions.below(5)
    if kind == 0:
        damaged[at : at + 1] = bytes([decisions.below(256)])
    elif kind == 1:
        del damaged[at : at + length]
    elif kind == 2:
        del damaged[at:]
    elif kind == 3:
        damaged[at:at] = damaged[at : at + length]
    else:
        damaged[at:at] = decisions.pick(BYTES)
    return bytes(damaged)


def damage_json(content: bytes, decisions: Decisions) -> bytes:
    """Replace, remove or repeat one value of a JSON document."""
    document = json.loads(content)
    places = list(_places(document)) if isinstance(document, (dict, list)) else []
    if not places:
        raise ValueError("it has no values")
    holder, key = decisions.pick(places)
    kind = decisions.below(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 2 and isinstance(holder, dict):
        # Written twice, which JSON allows: the marker is taken out of the text below.
        holder[f"{key}{_TWICE}"] = decisions.pick(_values())
    else:
        holder[key] = decisions.pick(_values())
    return json.dumps(document).replace(_TWICE, "").encode("utf-8", "surrogatepass")


_TWICE = "<twice>"


def damage_header(content: bytes, decisions: Decisions) -> bytes:
    """Damage the JSON in front of a safetensors file, whose length the first eight bytes give."""
    length = int.from_bytes(content[:8], "little")
    if decisions.below(8) == 0:
        return (decisions.pick(INTEGERS) % 2**64).to_bytes(8, "little") + content[8:]
    header = damage_json(content[8 : 8 + length], decisions)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def damage_toml(content: bytes, decisions: Decisions) -> bytes:
    """Replace, remove or repeat one line of a TOML document, or the value in it."""
    lines = content.decode().splitlines()
    if not lines:
        raise ValueError("it has no lines")
    at = decisions.below(len(lines))
    kind = decisions.below(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, decisions.pick(lines))
    else:
        key = lines[at].split("=")[0]
        lines[at] = f"{key}= {decisions.pick(_TOML_VALUES)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


_TOML_VALUES = (
    *("nan", "inf", "-1", "0", "1e999", "9" * 5000, "9223372036854775808", '""', '"\\u0000"', "true", "[]"),
    *("{}", "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", "'''a\nb'''", '"x"', "[" * 3000, "{a.b.c = 1}"),
)


def damage_message(message: Message, decisions: Decisions) -> None:
    """Change one field somewhere in a protobuf message: any value, and repeated or removed parts."""
    parts = list(_messages(message))
    texts = (*dict.fromkeys(text for part in parts for text in _texts(part)), *_UNICODE_TEXTS)
    part = decisions.pick(parts)
    field = decisions.pick(part.DESCRIPTOR.fields)
    if field.is_repeated:
        _change_items(getattr(part, field.name), field, decisions, texts)
    elif field.message_type is None:
        setattr(part, field.name, _value(field, decisions, texts))
    elif part.HasField(field.name) and decisions.below(2):
        part.ClearField(field.name)
    else:
        getattr(part, field.name).SetInParent()


def _change_items(items: Any, field: FieldDescriptor, decisions: Decisions, texts: Sequence[str]) -> None:
    at, kind = decisions.below(len(items)), decisions.below(4)
    if kind == 0 and len(items):
        del items[at]
    elif kind == 1 and len(items) > 1:
        other = decisions.below(len(items))
        ordered = list(items)
        ordered[at], ordered[other] = ordered[other], ordered[at]
        _refill(items, ordered, field)
    elif field.message_type is not None:
        items.add().CopyFrom(items[at] if len(items) else field.message_type._concrete_class())
    elif kind == 2 and len(items):
        items[at] = _value(field, decisions, texts)
    else:
        items.append(_value(field, decisions, texts))


def _values() -> tuple[Any, ...]:
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    return (*INTEGERS, 2**64, 10**400, *FLOATS, *TEXTS, None, True, [], {}, deep, {"": {"": None}}, [[1]])


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(document) if isinstance(document, dict) else range(len(document))
    for key in keys:
        yield document, key
        if isinstance(document[key], (dict, list)):
            yield from _places(document[key])


_UNICODE_TEXTS = tuple(text for text in TEXTS if text != "\ud800")


def _texts(part: Message) -> Iterator[str]:
    for _, value in part.ListFields():
        if isinstance(value, str):
            yield value
        elif not isinstance(value, (Message, bytes, int, float)):
            yield from (item for item in value if isinstance(item, str))


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else (value,):
            yield from _messages(part)


def _refill(items: Any, ordered: list[Any], field: FieldDescriptor) -> None:
    copies = [copy.deepcopy(item) for item in ordered] if field.message_type is not None else ordered
    del items[:]
    items.extend(copies)


def _value(field: FieldDescriptor, decisions: Decisions, texts: Sequence[str]) -> Any:
    """An extreme value; for a text also one from elsewhere in the message: names that clash, cycles."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return decisions.pick(BYTES)
        return decisions.pick(texts)
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return decisions.pick(FLOATS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return decisions.pick([value.number for value in field.enum_type.values])
    if kind in (FieldDescriptor.CPPTYPE_UINT64, FieldDescriptor.CPPTYPE_UINT32):
        return decisions.pick([number for number in INTEGERS if number >= 0][:9])
    bits = 32 if kind == FieldDescriptor.CPPTYPE_INT32 else 64
    return decisions.pick([n for n in INTEGERS if -(2 ** (bits - 1)) <= n < 2 ** (bits - 1)])
