#!/usr/bin/env python3
"""Puts all mutants into one copy of the source, each switched on by its number in `HUBWARD_MUTANT`.

    schemata.py COPY LIST OUT

COPY is a copy of the repository, which is changed; LIST is what `cargo mutants --list --json` says. OUT gets one
entry a mutant: its number, file, name and, where it could not be tried, why not.

Where a mutant stands, both ways are written down: `L && R` becomes `(if is(7) { L || R } else { L && R })`. Comments
`/*[7*/ … /*]*/` around each tell which mutant an error of the compiler belongs to. What does not compile is taken
out, and the rest is written again, until all of it compiles.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Parser

PARSER = Parser(Language(tree_sitter_rust.language()))
# Expressions that bind tighter than each operator.
TIGHT = {
    "identifier", "self", "integer_literal", "float_literal", "string_literal", "char_literal", "boolean_literal",
    "call_expression", "field_expression", "index_expression", "parenthesized_expression", "macro_invocation",
    "scoped_identifier", "try_expression", "await_expression", "array_expression", "tuple_expression",
}
MARK = re.compile(r"/\*\[([0-9,]+)\*/|/\*\]\*/")


class CannotSwitch(Exception):
    """Why no switch can be written for a mutant."""


def is_on(number):
    return f"crate::mutant::is({number})"


def marked(numbers, text):
    """Text that errors are looked up in."""
    return f"/*[{','.join(str(number) for number in numbers)}*/{text}/*]*/"


def choice(ways, otherwise):
    """An expression that is one of the ways if its mutant is on; ways: [(number, text)]."""
    switches = "".join(f"if {is_on(number)} {{ {marked([number], text)} }} else " for number, text in ways)
    return marked([number for number, _ in ways], f"({switches}{{ {otherwise} }})")


def ancestor(node, kind):
    while node is not None and node.type != kind:
        node = node.parent
    if node is None:
        raise CannotSwitch(f"not within a {kind}")
    return node


class Source:
    """One file, and the mutants at each node of its tree."""

    def __init__(self, path):
        self.path = path
        self.bytes = path.read_bytes()
        self.lines = self.bytes.split(b"\n")
        self.root = PARSER.parse(self.bytes).root_node
        self.at = defaultdict(list)
        self.touched = set()
        self.functions_of_consts = set()

    def offset(self, place):
        """The byte that a line and a column, both from 1 and in characters, stand for."""
        line = place["line"] - 1
        before = sum(len(text) + 1 for text in self.lines[:line])
        return before + len(self.lines[line].decode()[: place["column"] - 1].encode())

    def place(self, number, mutant):
        """Notes at which node a mutant is made."""
        start, end = (self.offset(mutant["span"][side]) for side in ("start", "end"))
        node = self.root.named_descendant_for_byte_range(start, end)
        token = self.root.descendant_for_byte_range(start, start + 1)
        match mutant["genre"]:
            case "FnValue":
                node = ancestor(node, "function_item")
                if mutant["function"]["return_type"].startswith("-> impl "):
                    raise CannotSwitch("returns `impl Trait`: both ways would need one type")
            case "BinaryOperator":
                node = token.parent
                if node.type not in ("binary_expression", "compound_assignment_expr", "let_chain"):
                    raise CannotSwitch(f"the operator is in a {node.type}")
            case "UnaryOperator":
                node = ancestor(token, "unary_expression")
            case "MatchArm":
                node = ancestor(token, "match_arm")
                if node.start_byte != start:
                    raise CannotSwitch("the arm was not found")
            case "MatchArmGuard":
                node = ancestor(ancestor(node, "match_pattern"), "match_arm")
                guard = guard_of(node)
                if (guard.start_byte, guard.end_byte) != (start, end):
                    raise CannotSwitch("the guard was not found")
            case "StructField":
                node = ancestor(token, "struct_expression")
            case genre:
                raise CannotSwitch(f"{genre} is not known here")
        self.require_runtime(node)
        self.at[node.id].append((number, mutant, start))
        while node is not None and node.id not in self.touched:
            self.touched.add(node.id)
            node = node.parent

    def require_runtime(self, node):
        """A constant becomes a function, if nothing but this file can use it."""
        while node is not None and node.type not in ("const_item", "static_item", "function_item"):
            node = node.parent
        if node is None or node.type == "function_item":
            return
        if node.type == "static_item" or node.children[0].type == "visibility_modifier":
            raise CannotSwitch("a constant that others can use")
        self.functions_of_consts.add(node.child_by_field_name("name").text)

    # Writing it again.

    def render(self, node):
        """The text of a node, with each mutant below it beside what it replaces."""
        if node.id not in self.touched and not self.functions_of_consts:
            return node.text.decode()
        mutants = self.at.get(node.id, [])
        if node.type == "identifier" and node.text in self.functions_of_consts:
            return node.text.decode() + ("" if node.parent.type in ("const_item", "function_item") else "()")
        if node.type == "const_item" and node.child_by_field_name("name").text in self.functions_of_consts:
            return self.render_const(node)
        if not mutants:
            return self.render_plain(node)
        return getattr(self, "render_" + node.type)(node, mutants)

    def render_plain(self, node, replaced=None):
        """The text of a node, with other text for some children; replaced: {child.id: text}."""
        text, at = [], node.start_byte
        for child in node.children:
            text.append(self.bytes[at : child.start_byte].decode())
            known = replaced and child.id in replaced
            text.append(replaced[child.id] if known else self.render(child))
            at = child.end_byte
        text.append(self.bytes[at : node.end_byte].decode())
        return "".join(text)

    def render_const(self, node):
        name, kind, value = (node.child_by_field_name(field) for field in ("name", "type", "value"))
        return f"#[allow(non_snake_case)] fn {name.text.decode()}() -> {kind.text.decode()} {{ {self.render(value)} }}"

    def operand(self, node):
        text = self.render(node)
        return text if node.type in TIGHT else f"({text})"

    def render_binary_expression(self, node, mutants):
        left, right = (self.operand(node.child_by_field_name(side)) for side in ("left", "right"))
        operator = node.child_by_field_name("operator").text.decode()
        ways = [(number, f"{left} {mutant['replacement']} {right}") for number, mutant, _ in mutants]
        return choice(ways, f"{left} {operator} {right}")

    def render_compound_assignment_expr(self, node, mutants):
        return self.render_binary_expression(node, mutants)

    def render_unary_expression(self, node, mutants):
        operand = self.operand(node.children[-1])
        return choice([(number, operand) for number, _, _ in mutants], node.children[0].text.decode() + operand)

    def render_let_chain(self, node, mutants):
        """Beside a `let` there is no `||`: there, what stands on the other side of `&&` is left out instead."""
        replaced = {}
        for number, _, start in mutants:
            index = next(i for i, child in enumerate(node.children) if child.start_byte == start)
            beside = [node.children[index + 1], node.children[index - 1]]
            plain = [child for child in beside if child.type != "let_condition"]
            if plain:
                text = replaced.get(plain[0].id) or self.operand(plain[0])
                replaced[plain[0].id] = marked([number], f"({is_on(number)} || {text})")
        return self.render_plain(node, replaced)

    def render_match_arm(self, node, mutants):
        guard, pattern = guard_of(node), node.child_by_field_name("pattern")
        text = self.operand(guard) if guard else None
        numbers = [number for number, _, _ in mutants]
        for number, mutant, _ in mutants:
            if mutant["genre"] == "MatchArmGuard":
                always = mutant["replacement"] == "true"
                text = f"({is_on(number)} || {text})" if always else f"(!{is_on(number)} && {text})"
        for number, mutant, _ in mutants:
            if mutant["genre"] == "MatchArm":
                text = f"!{is_on(number)}" + (f" && {text}" if text else "")
        if guard:
            pattern_text = self.render_plain(pattern, {guard.id: marked(numbers, text)})
        else:
            pattern_text = f"{self.render(pattern)} if {marked(numbers, text)}"
        return self.render_plain(node, {pattern.id: pattern_text})

    def render_struct_expression(self, node, mutants):
        fields = node.child_by_field_name("body")
        ways = []
        for number, _, start in mutants:
            gone = next(child for child in fields.children if child.start_byte == start)
            comma = gone.next_sibling
            without = {gone.id: ""} | ({comma.id: ""} if comma.type == "," else {})
            ways.append((number, self.render_plain(node, {fields.id: self.render_plain(fields, without)})))
        return choice(ways, self.render_plain(node))

    def render_function_item(self, node, mutants):
        body = node.child_by_field_name("body")
        ways = "".join(
            marked([number], f" if {is_on(number)} {{ return {mutant['replacement']}; }}")
            for number, mutant, _ in mutants
        )
        brace = body.children[0]
        text = self.render_plain(node, {body.id: self.render_plain(body, {brace.id: "{" + ways})})
        return marked([number for number, _, _ in mutants], text)

    def write(self):
        text = self.render(self.root)
        self.path.write_text(text)
        return text.encode()


def guard_of(arm):
    return arm.child_by_field_name("pattern").child_by_field_name("condition")


def compile_errors(copy):
    """What the compiler says against the copy: [(message, [(file, byte, is primary)])]."""
    command = [os.environ.get("CARGO", "cargo"), "check", "--locked", "--lib", "--message-format=json"]
    checked = subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    errors = []
    for line in checked.stdout.splitlines():
        message = json.loads(line).get("message") or {}
        if message.get("level") == "error" and message.get("spans"):
            spans = sorted(message["spans"], key=lambda span: not span["is_primary"])
            text = message["message"]
            code = (message.get("code") or {}).get("code")
            errors.append((f"{code}: {text}" if code else text, [(s["file_name"], s["byte_start"]) for s in spans]))
    if checked.returncode and not errors:
        sys.exit(checked.stderr)
    return errors


def blamed(text, byte):
    """The mutants whose marks are around a byte, innermost first."""
    around = []
    for mark in MARK.finditer(text[:byte].decode()):
        around.append([int(n) for n in mark[1].split(",")]) if mark[1] else around.pop()
    return around[::-1]


def write_all(copy, mutants, reasons):
    """Writes each file with the mutants that have no reason against them; gives the texts by file."""
    sources = {}
    for number, mutant in enumerate(mutants):
        source = sources.get(mutant["file"]) or Source(copy / "original" / mutant["file"])
        sources[mutant["file"]] = source
        if number not in reasons:
            try:
                source.place(number, mutant)
            except CannotSwitch as reason:
                reasons[number] = str(reason)
    texts = {}
    for file, source in sources.items():
        source.path = copy / file
        texts[file] = source.write()
    return texts


def main():
    copy, listed, out = (Path(argument) for argument in sys.argv[1:])
    mutants = json.loads(listed.read_text())
    here = Path(__file__).parent
    (copy / "src/mutant.rs").write_text((here / "mutant.rs").read_text())
    lib = copy / "src/lib.rs"
    lib.write_text(lib.read_text().replace("\npub mod ", "\nmod mutant;\npub mod ", 1))
    for file in {mutant["file"] for mutant in mutants}:
        kept = copy / "original" / file
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes((copy / file).read_bytes())

    reasons = {}
    while True:
        texts = write_all(copy, mutants, reasons)
        errors = compile_errors(copy)
        if not errors:
            break
        before = len(reasons)
        for message, spans in errors:
            found = [blamed(texts[file], byte) for file, byte in spans if file in texts]
            innermost = sorted((around[0] for around in found if around), key=len)
            if not innermost:
                sys.exit(f"no mutant is to blame: {message} {spans}")
            for number in innermost[0]:
                reasons.setdefault(number, message)
        print(f"{len(reasons) - before} more do not compile", file=sys.stderr)
        if len(reasons) == before:
            sys.exit(f"no way on: {errors}")
    table = [
        {"number": number, "file": m["file"], "name": m["name"], "genre": m["genre"]}
        | ({"not_tried": reasons[number]} if number in reasons else {})
        for number, m in enumerate(mutants)
    ]
    out.write_text("\n".join(json.dumps(line) for line in table) + "\n")
    print(f"{len(mutants) - len(reasons)} of {len(mutants)} mutants can be tried", file=sys.stderr)


if __name__ == "__main__":
    main()
