#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds JSON against docs/info.schema.json.

validate-json.py [--mutate] SCHEMA DEFINITION=FILE...

DEFINITION is one of the schema's $defs: info, list, extraction.  With --mutate each FILE
is changed in one place at a time, and each such change has to be refused: an unknown key
in any object, a key of the outermost object that is missing, a negative number, a string
in the place of a boolean.  Prints what is wrong, and exits with 1 if anything is.
"""
import copy
import json
import sys

import jsonschema


def places(node, path=()):
    """Every value of the document with the way to it."""
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, path + (key,))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from places(value, path + (i,))


def changed(document, path, change):
    mutant = copy.deepcopy(document)
    if not path:
        change(mutant)
        return mutant
    node = mutant
    for step in path[:-1]:
        node = node[step]
    result = change(node[path[-1]])
    if result is not None:
        node[path[-1]] = result
    return mutant


def add_key(node):
    node["surprise"] = 1


def mutants(document):
    for key in document:
        yield "without %s" % key, {k: v for k, v in document.items() if k != key}
    for path, value in places(document):
        name = "/".join(map(str, path))
        if isinstance(value, dict):
            yield "a new key in /%s" % name, changed(document, path, add_key)
        elif isinstance(value, bool):
            yield "no boolean at /%s" % name, changed(document, path, lambda _: "yes")
        elif isinstance(value, int):
            yield "a negative number at /%s" % name, changed(document, path, lambda _: -1)


def main():
    arguments = sys.argv[1:]
    mutate = arguments[0] == "--mutate"
    schema = json.load(open(arguments[mutate]))
    jsonschema.Draft202012Validator.check_schema(schema)
    failed = 0
    for argument in arguments[mutate + 1:]:
        definition, file = argument.split("=", 1)
        validator = jsonschema.Draft202012Validator({**schema, "$ref": "#/$defs/" + definition})
        document = json.load(open(file))
        for error in validator.iter_errors(document):
            failed += 1
            print("%s: /%s: %s" % (file, "/".join(map(str, error.absolute_path)), error.message[:300]))
        for name, mutant in mutants(document) if mutate else ():
            if validator.is_valid(mutant):
                failed += 1
                print("%s: taken: %s" % (file, name))
    sys.exit(failed > 0)


main()
