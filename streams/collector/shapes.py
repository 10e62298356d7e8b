"""JSON schemas of OTLP's messages, made of their descriptors.

Pure. Source: OTLP 1.x, "JSON Protobuf Encoding": names in lower camel case, ids in hex, enums as
numbers; the rest as protobuf's own JSON mapping has it, 64 bits as text or number.
"""

from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from streams.serving.openapi import Schema, reference

_HEX_DIGITS: Final = {
    "trace_id": 32,
    "span_id": 16,
    "parent_span_id": 16,
}
_INT_BITS: Final = {
    FieldDescriptor.CPPTYPE_INT32: (32, True),
    FieldDescriptor.CPPTYPE_UINT32: (32, False),
    FieldDescriptor.CPPTYPE_INT64: (64, True),
    FieldDescriptor.CPPTYPE_UINT64: (64, False),
    FieldDescriptor.CPPTYPE_ENUM: (32, True),
}


def shape(message: Any, schemas: dict[str, Schema]) -> Schema:
    """Return what stands for a message's schema, which is added to those by name.

    Args:
        message: a class of protobuf's.
        schemas: takes it and those of all that it holds.
    """
    return _shape(message.DESCRIPTOR, schemas)


def _shape(descriptor: Descriptor, schemas: dict[str, Schema]) -> Schema:
    name = descriptor.full_name
    if name not in schemas:
        properties: dict[str, Schema] = {}
        schemas[name] = {"type": "object", "properties": properties}  # before its fields: it may
        for field in descriptor.fields:  # hold itself, as AnyValue does
            one = _one(field, schemas)
            properties[field.camelcase_name] = (
                {"type": "array", "items": one} if field.is_repeated else one
            )
    return reference(name)


def _one(field: FieldDescriptor, schemas: dict[str, Schema]) -> Schema:
    """Return the schema of one value of a field."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return _shape(field.message_type, schemas)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return {"type": "boolean"}
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type != FieldDescriptor.TYPE_BYTES:
            return {"type": "string"}
        digits = _HEX_DIGITS.get(field.name)
        if digits is None:
            return {"type": "string", "contentEncoding": "base64"}
        return {"type": "string", "pattern": f"^([0-9a-fA-F]{{{digits}}})?$"}
    bits, is_signed = _INT_BITS[kind]
    number = {
        "type": "integer",
        "minimum": -(1 << bits - 1) if is_signed else 0,
        "maximum": (1 << bits - is_signed) - 1,
    }
    if bits == 32:
        return number
    text = {"type": "string", "pattern": "^-?[0-9]{1,18}$" if is_signed else "^[0-9]{1,19}$"}
    return {"anyOf": [text, number]}
