"""Compares the plugin's GraphQL with the reference implementation's, graphql-core.

Both get the same schema, the same operations and the same answers of services. Operations are made by hypothesis-graphql, and changed at
random so that many of them are wrong; services fail at random. Verdict, data with the order of members, and the set of error paths must be
the same.

    oracle.py PROGRAM CONFIG CASES SEED

PROGRAM reads a case as a line of JSON, and writes its answer as a line.
"""

import json
import random
import subprocess
import sys
import warnings

import graphql
from graphql.language import ast
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis_graphql import mutations, queries

warnings.simplefilter("ignore")


# === The reference ===


class Failed(Exception):
    """A service has failed."""


def strict(name, check):
    """A scalar that takes values of its own type alone, as the plugin does."""
    scalar = graphql.specified_scalar_types[name]

    def serialize(value):
        result = check(value)
        if result is None:
            raise graphql.GraphQLError(f"{name} cannot represent {value!r}")
        return result

    for attribute in ("serialize", "coerce_output_value"):
        if hasattr(scalar, attribute):
            setattr(scalar, attribute, serialize)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_int(value):
    if not is_number(value) or value != value or value in (float("inf"), float("-inf")) or value != int(value):
        return None
    return int(value) if -(2**31) <= value < 2**31 else None


def as_id(value):
    if isinstance(value, str):
        return value
    if is_number(value) and value == int(value):
        return str(int(value))
    return None


strict("Int", as_int)
strict("Float", lambda value: value if is_number(value) else None)
strict("String", lambda value: value if isinstance(value, str) else None)
strict("Boolean", lambda value: value if isinstance(value, bool) else None)
strict("ID", as_id)


class Reference:
    """The schema with resolvers that read the answers of a case."""

    def __init__(self, rule, parts):
        self.rule, self.parts = rule, parts
        text = rule["schema"]
        self.schema = graphql.build_schema(text)
        for named in self.schema.type_map.values():
            if named.name.startswith("__"):
                continue
            if isinstance(named, graphql.GraphQLObjectType):
                named.is_type_of = lambda value, _info: isinstance(value, dict)
                for name, field in named.fields.items():
                    field.resolve = self.resolver(f"{named.name}.{name}", name)
            elif isinstance(named, (graphql.GraphQLInterfaceType, graphql.GraphQLUnionType)):
                named.resolve_type = self.type_of(rule["types"][named.name]["names"])
        # What the language allows in documents has no say about empty selections.
        self.rules = graphql.specified_rules

    @staticmethod
    def type_of(names):
        def resolve(value, _info, _type):
            kind = value.get("kind") if isinstance(value, dict) else None
            name = names.get(kind) if isinstance(kind, str) else None
            if name is None:
                raise Failed("the type is not told")
            return name

        return resolve

    def resolver(self, coordinate, name):
        binding = self.rule["fields"].get(coordinate, {})
        if binding.get("group"):
            return lambda _source, _info, **_arguments: {}
        if "part" in binding:
            return self.of_part(binding["part"])
        path = binding.get("from", name).split(".")

        def member(source, _info, **_arguments):
            for step in path:
                source = source.get(step) if isinstance(source, dict) else None
            return source

        return member

    def of_part(self, part):
        def resolve(source, info, **arguments):
            answers = info.context[part]
            if part == "echo":
                # Members without a value are left out of a body.
                return answered(answers, {name: value for name, value in arguments.items() if value is not None} or {})
            if part == "friend":
                key = source.get("friend_id")
                if isinstance(key, (dict, list)) or key is None:
                    return None
                # A path with an empty segment is not called.
                return answered(answers.get(text_of(key), {"status": 404}) if key != "" else {"status": 400})
            if part == "team":
                key = source.get("team_id")
                if key is None:
                    return None
                teams = answered(answers)
                if not isinstance(teams, list):
                    raise Failed("no list")
                found = [team for team in teams if isinstance(team, dict) and text_of(team.get("id")) == text_of(key)]
                return found[0] if found else None
            return answered(answers, None, part == "feed")

        return resolve

    def run(self, case):
        """The verdict, the data and the paths of errors."""
        try:
            document = parse(case["query"])
        except graphql.GraphQLError:
            return "parse", None, None
        if graphql.validate(self.schema, document, self.rules):
            return "validation", None, None
        operations = [node for node in document.definitions if isinstance(node, ast.OperationDefinitionNode)]
        name = case.get("operationName")
        chosen = [node for node in operations if name is None or (node.name and node.name.value == name)]
        if len(chosen) != 1:
            return "operation", None, None
        result = graphql.execute(
            self.schema,
            document,
            context_value=case["answers"],
            variable_values=case.get("variables"),
            operation_name=name,
        )
        errors = result.errors or []
        if result.data is None and errors and all(error.path is None for error in errors):
            return "variables", None, None
        return "executed", result.data, sorted(json.dumps(error.path) for error in errors)


def parse(text):
    try:
        return graphql.parse(text, allow_empty_selection_sets=False)
    except TypeError:
        return graphql.parse(text)


def text_of(key):
    return key if isinstance(key, str) else json.dumps(key)


def answered(answer, echo=None, has_none=False):
    """The value of a service's answer."""
    status = answer.get("status", 200)
    if has_none and status == 404:
        return None
    if status != 200:
        raise Failed(str(status))
    return echo if echo is not None else answer["body"]


# === The answers of services ===


class Answers:
    """Answers at random: of the right types mostly."""

    def __init__(self, rng):
        self.rng = rng

    def all(self):
        rng = self.rng
        return {
            "me": self.answer(lambda: self.user(0)),
            "users": self.answer(lambda: self.list(lambda: self.user(0))),
            "feed": self.answer(lambda: self.list(self.item), status=(404, 500)),
            "node": self.answer(self.item),
            "deep": self.answer(lambda: rng.choice([[[1, 2], [3]], [[1, None]], [None, [4]], [], 7, [5], "x", [["5"]]])),
            "friend": {key: self.answer(lambda: self.user(1)) for key in ("1", "2", "a")},
            "team": self.answer(self.teams),
            "echo": self.answer(lambda: {}),
            "change": self.answer(lambda: self.user(0)),
        }

    def answer(self, make, status=(500, 404)):
        if self.rng.random() < 0.12:
            return {"status": self.rng.choice(status)}
        return {"status": 200, "body": self.perhaps(make(), 0.04)}

    def perhaps(self, value, chance=0.06):
        """The value, or rarely one of another type."""
        if self.rng.random() >= chance:
            return value
        return self.rng.choice([None, 7, 7.5, 5.0, "7", "", True, [], [1], {}, {"id": 1}, 2147483648])

    def list(self, make):
        return [make() for _ in range(self.rng.randrange(4))]

    def pick(self, members):
        """An object that lacks a member sometimes."""
        return {name: self.perhaps(value) for name, value in members.items() if self.rng.random() > 0.06}

    def item(self):
        return self.rng.choice([self.post, self.team, lambda: self.user(0)])()

    def user(self, depth):
        rng = self.rng
        return self.pick(
            {
                "kind": "user",
                "id": rng.choice([1, "2", "a", 12345678901]),
                "name": rng.choice(["Ada", "ü\n\"", ""]),
                "names": {"full": "Ada L"},
                "age": rng.choice([36, 36.0, -1]),
                "score": rng.choice([1, 1.5, 1e3]),
                "ok": rng.choice([True, False]),
                "role": rng.choice(["ADMIN", "USER", "ROOT"]),
                "roles": rng.choice([[], ["ADMIN"], ["USER", "GUEST"], ["ROOT"], [None]]),
                "meta": rng.choice([{"a": [1, None]}, [], "x", 1.5]),
                "friend_id": rng.choice([1, "2", "a", None, 9]),
                "team_id": rng.choice([1, "2", 3, None]),
                "address": rng.choice([{"street": "S", "zip": 1, "city": "C"}, {"city": None}, None]),
                "tags": rng.choice([[["a", None], []], [None], []]),
            }
        )

    def post(self):
        author = self.rng.choice([None, self.user(1)])
        return self.pick({"kind": "post", "id": 5, "name": "N", "title": "T", "author": author, "likes": 3})

    def team(self):
        return self.pick({"kind": "team", "id": self.rng.choice([1, "2", 3]), "title": "Team", "friend_id": self.rng.choice([1, "a", None])})

    def teams(self):
        return [self.pick({"id": key, "title": f"T{key}", "friend_id": 1}) for key in (1, 2, "3") if self.rng.random() > 0.2]


# === Changes of operations ===


class Mutator:
    """Changes operations so that some of them are wrong, each in one place or two."""

    def __init__(self, rng, schema):
        self.rng, self.schema = rng, schema

    def change(self, text):
        """A changed operation with variables for it."""
        document = graphql.parse(text)
        variables = {}
        for _ in range(self.rng.choice([0, 0, 1, 1, 2, 3])):
            kind = self.rng.choice(KINDS)
            document = getattr(self, kind)(document, variables) or document
        text = graphql.print_ast(document)
        if self.rng.random() < 0.05:
            place = self.rng.randrange(len(text) + 1)
            text = text[:place] + self.rng.choice(["{", "}", "$", "!", '"', "@", "...", "\\", "#", "é", ""]) + text[place + 1 :]
        return text, variables

    def nodes(self, document, kind):
        found = []

        class Find(graphql.Visitor):
            def enter(self, node, *_):
                if isinstance(node, kind):
                    found.append(node)

        graphql.visit(document, Find())
        return found

    def replace(self, document, old, new):
        class Swap(graphql.Visitor):
            def enter(self, node, *_):
                return new if node is old else None

        return graphql.visit(document, Swap())

    def one(self, document, kind):
        found = self.nodes(document, kind)
        return self.rng.choice(found) if found else None

    def parsed(self, selection):
        return graphql.parse("{ %s }" % selection).definitions[0].selection_set.selections[0]

    def rename_field(self, document, _variables):
        field = self.one(document, ast.FieldNode)
        names = [name for kind in self.schema.type_map.values() if hasattr(kind, "fields") for name in kind.fields]
        return self.replace(document, field, remade(field, name=ast.NameNode(value=self.rng.choice(names))))

    def alias(self, document, _variables):
        field = self.one(document, ast.FieldNode)
        return self.replace(document, field, remade(field, alias=ast.NameNode(value=self.rng.choice(["a", "id", "name", "b"]))))

    def drop_argument(self, document, _variables):
        field = self.one(document, ast.FieldNode)
        return self.replace(document, field, remade(field, arguments=tuple(field.arguments or ())[1:]))

    def add_argument(self, document, _variables):
        field = self.one(document, ast.FieldNode)
        argument = self.parsed("f(%s: 1)" % self.rng.choice(["a", "id", "first", "n"])).arguments[0]
        return self.replace(document, field, remade(field, arguments=(*(field.arguments or ()), argument)))

    def literal(self, document, _variables):
        argument = self.one(document, ast.ArgumentNode)
        if argument is None:
            return None
        value = self.rng.choice(["1", '"x"', "null", "true", "ADMIN", "[1, 2]", "{}", "4.0", "{by: {id: 1}}", "{by: {id: 1, name: null}}", "99999999999", "$v"])
        return self.replace(document, argument, remade(argument, value=graphql.language.parse_value(value)))

    def variable(self, document, variables):
        """An argument becomes a variable, of this type or another."""
        argument = self.one(document, ast.ArgumentNode)
        operation = self.one(document, ast.OperationDefinitionNode)
        if argument is None or operation is None:
            return None
        name = "v%d" % len(variables)
        kind = self.rng.choice(["Int", "Int!", "Int = 5", "Float", "ID", "ID!", "String", "Role", "Role = ADMIN", "Filter", "[Int!]", "[Int!]!", "By", "By!", "Boolean", "JSON"])
        values = [1, 5.0, "1", "ADMIN", None, True, [1, 2], [None], {}, {"id": 1}, {"id": None}, {"id": 1, "name": "x"}, {"range": {"max": 3}}, {"and": [{"by": {"name": "n"}}]}, {"ids": 7}, 2147483648, 1.5]
        if self.rng.random() < 0.85:
            variables[name] = self.rng.choice(values)
        changed = self.replace(document, argument, remade(argument, value=ast.VariableNode(name=ast.NameNode(value=name))))
        operation = self.one(changed, ast.OperationDefinitionNode)
        definitions = graphql.parse("query($%s: %s) { a }" % (name, kind)).definitions[0].variable_definitions
        return self.replace(changed, operation, remade(operation, variable_definitions=(*(operation.variable_definitions or ()), *definitions)))

    def directive(self, document, variables):
        field = self.one(document, ast.FieldNode)
        text = self.rng.choice(["@skip(if: true)", "@skip(if: false)", "@include(if: false)", "@include(if: true)", "@skip", "@unknown", "@skip(if: true) @include(if: true)", "@skip(if: true) @skip(if: true)", "@deprecated"])
        directives = self.parsed("f " + text).directives
        return self.replace(document, field, remade(field, directives=(*(field.directives or ()), *directives)))

    def conditional(self, document, variables):
        field = self.one(document, ast.FieldNode)
        operation = self.one(document, ast.OperationDefinitionNode)
        directives = self.parsed("f @%s(if: $c)" % self.rng.choice(["skip", "include"])).directives
        changed = self.replace(document, field, remade(field, directives=(*(field.directives or ()), *directives)))
        operation = self.one(changed, ast.OperationDefinitionNode)
        if any(own.variable.name.value == "c" for own in operation.variable_definitions or ()):
            return changed
        kind = self.rng.choice(["Boolean!", "Boolean! = true", "Boolean", "Int"])
        if self.rng.random() < 0.8:
            variables["c"] = self.rng.choice([True, False, True, False, 1, None])
        definitions = graphql.parse("query($c: %s) { a }" % kind).definitions[0].variable_definitions
        return self.replace(changed, operation, remade(operation, variable_definitions=(*(operation.variable_definitions or ()), *definitions)))

    def typename(self, document, _variables):
        selections = self.one(document, ast.SelectionSetNode)
        return self.replace(document, selections, remade(selections, selections=(*selections.selections, self.parsed("__typename"))))

    def twice(self, document, _variables):
        """A field once more, with a part of its selections."""
        selections = self.one(document, ast.SelectionSetNode)
        field = self.rng.choice(selections.selections)
        inner = getattr(field, "selection_set", None)
        if inner:
            field = remade(field, selection_set=remade(inner, selections=inner.selections[:1]))
        return self.replace(document, selections, remade(selections, selections=(*selections.selections, field)))

    def again(self, document, variables):
        """A field with arguments once more, with another value of one of them."""
        selections = self.one(document, ast.SelectionSetNode)
        fields = [field for field in selections.selections if getattr(field, "arguments", None)]
        if not fields:
            return None
        field = self.rng.choice(fields)
        value = self.rng.choice(["1", "[]", "[1]", "[1, 2]", "[2, 1]", "null", "{}", "ADMIN", '"x"'])
        first = remade(field.arguments[0], value=graphql.language.parse_value(value))
        other = remade(field, arguments=(first, *field.arguments[1:]))
        if self.rng.random() < 0.3:
            other = remade(other, directives=self.parsed("f @skip(if: true)").directives)
        place = self.rng.randrange(len(selections.selections) + 1)
        return self.replace(
            document, selections, remade(selections, selections=(*selections.selections[:place], other, *selections.selections[place:]))
        )

    def inline(self, document, _variables):
        selections = self.one(document, ast.SelectionSetNode)
        kind = self.rng.choice(["", "on User ", "on Node ", "on Named ", "on Team ", "on Query ", "on Item ", "on Missing "])
        fragment = self.parsed("... %s{ a }" % kind)
        fragment = remade(fragment, selection_set=remade(selections, selections=selections.selections[:2]))
        return self.replace(document, selections, remade(selections, selections=(fragment, *selections.selections[1:])))

    def fragment(self, document, _variables):
        """A selection set becomes a fragment, which is spread here and perhaps in itself."""
        selections = self.one(document, ast.SelectionSetNode)
        name = self.rng.choice(["F", "G"])
        kind = self.rng.choice(["User", "Query", "Mutation", "Post", "Team", "Node", "Item", "Inner"])
        spread = self.parsed("...%s" % name)
        inner = selections.selections if self.rng.random() > 0.1 else (*selections.selections, spread)
        fragment = graphql.parse("fragment %s on %s { a }" % (name, kind)).definitions[0]
        fragment = remade(fragment, selection_set=remade(selections, selections=inner))
        changed = self.replace(document, selections, remade(selections, selections=(spread, *selections.selections[:1])))
        return remade(changed, definitions=(*changed.definitions, fragment))

    def leafless(self, document, _variables):
        field = self.one(document, ast.FieldNode)
        return self.replace(document, field, remade(field, selection_set=None))

    def leaf(self, document, _variables):
        field = self.one(document, ast.FieldNode)
        return self.replace(document, field, self.parsed("%s { id }" % field.name.value))

    def named(self, document, _variables):
        operation = self.one(document, ast.OperationDefinitionNode)
        return self.replace(document, operation, remade(operation, name=ast.NameNode(value="Named")))

    def another(self, document, _variables):
        other = graphql.parse(self.rng.choice(["query Other { __typename }", "{ __typename }", "query Named { me { id } }", "subscription { a }"]))
        return remade(document, definitions=(*document.definitions, *other.definitions))


KINDS = [name for name, member in vars(Mutator).items() if callable(member) and name not in ("__init__", "change", "nodes", "replace", "one", "parsed")]


def remade(node, **changes):
    """A copy of a node with some of its members changed."""
    members = {name: getattr(node, name, None) for name in node.keys if name != "loc"}
    members.update(changes)
    return type(node)(**members)


# === The comparison ===


def ordered(value):
    """A value that is equal only to one with the same order of members; numbers by their value."""
    if isinstance(value, dict):
        return ("object", [(name, ordered(member)) for name, member in value.items()])
    if isinstance(value, list):
        return ("list", [ordered(item) for item in value])
    return ("number", float(value)) if is_number(value) else value


def verdict(answer):
    """The same of the plugin's answer."""
    errors = answer.get("errors", [])
    if "data" in answer:
        return "executed", answer["data"], sorted(json.dumps(error["path"]) for error in errors)
    code = errors[0]["extensions"]["code"]
    verdicts = {
        "GRAPHQL_PARSE_FAILED": "parse",
        "GRAPHQL_VALIDATION_FAILED": "validation",
        "BAD_USER_INPUT": "variables",
        "OPERATION_RESOLUTION_FAILURE": "operation",
    }
    return verdicts.get(code, code), None, None


def basics(schema, count, start):
    """Operations as hypothesis-graphql makes them."""
    found = []
    for strategy, share in ((queries(schema), 3), (mutations(schema), 1)):
        wanted = max(1, count * share // 4)

        @seed(start)
        @settings(max_examples=wanted, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(strategy)
        def collect(text):
            found.append(text)

        collect()
    return found


def main():
    program, path, count, start = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    plugin = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    config = json.loads(plugin.stdout.readline())
    rule = config["routes"][0]["graphql"]
    reference = Reference(rule, config["parts"])
    rng = random.Random(start)
    texts = basics(rule["schema"], max(40, count // 50), start)
    tally, differences = {}, []
    mutator, answers = Mutator(rng, reference.schema), Answers(rng)
    for number in range(count):
        query, variables = mutator.change(rng.choice(texts))
        case = {"query": query, "variables": variables, "answers": answers.all()}
        if rng.random() < 0.1:
            case["operationName"] = rng.choice(["Named", "Other", "None"])
        plugin.stdin.write(json.dumps(case) + "\n")
        plugin.stdin.flush()
        line = plugin.stdout.readline()
        own = verdict(json.loads(line))
        if own[0] == "LIMIT_EXCEEDED":
            tally["over a limit"] = tally.get("over a limit", 0) + 1
            continue
        wanted = reference.run(case)
        tally[wanted[0]] = tally.get(wanted[0], 0) + 1
        same = own[0] == wanted[0] and ordered(own[1]) == ordered(wanted[1]) and own[2] == wanted[2]
        if not same:
            differences.append({"case": case, "plugin": own, "reference": wanted, "line": line})
            if len(differences) >= 5:
                break
    plugin.stdin.close()
    plugin.wait()
    for difference in differences:
        print(difference["case"]["query"])
        for name in ("variables", "operationName", "answers"):
            print(f"{name}: {json.dumps(difference['case'].get(name))}")
        for name in ("plugin", "reference", "line"):
            print(f"{name}: {difference[name]}")
        print()
    print(f"{number + 1} operations: " + ", ".join(f"{own} {number}" for own, number in sorted(tally.items())))
    print(f"{len(differences)} differences")
    sys.exit(1 if differences or plugin.returncode else 0)


main()
