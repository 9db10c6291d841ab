"""Random templates over template_snippets.VARIABLES, mostly sensible, sometimes not."""
import random

NAMES = ("s u e w i z n f t b none l ls le d users m missing x y ns.v".split())
NUMBERS = ("0", "1", "2", "-1", "3", "7", "2.5", "-0.5", "10", "100")
STRINGS = ("'a'", "'Hello World'", "''", "' x '", "'é日'", "'a,b,c'", "\"it's\"", "'12'", "'%s'")
BINARY = ("+", "-", "*", "/", "//", "%", "~", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or")
FILTERS = ("upper lower title capitalize trim length list first last sort unique|list reverse|list join join(',') sum min max abs int "
           "float string e safe tojson tojson(indent=2) default('d') default('d',true) replace('a','b') indent round round(1) "
           "map('string')|list map('upper')|join map(attribute='name')|list select|list reject|list select('odd')|list "
           "selectattr('age')|list items|list dictsort batch(2)|list slice(2)|list wordcount center(9) truncate(6,leeway=0) "
           "count groupby('age')|length urlencode striptags").split()
TESTS = ("defined undefined none string number integer float mapping sequence iterable boolean true false odd even lower upper "
         "callable in([1,'a']) divisibleby(2) eq(1) sameas(none)").split()
METHODS = ("upper() lower() strip() split() split('o') rsplit(None,1) title() startswith('H') endswith('d') replace('l','') find('o') "
           "count('l') isdigit() join(['x','y']) items() keys() values() get('a') get('zz',1) index(1) splitlines() zfill(4) "
           "removeprefix('He') format(1) nope nope() name role a.x").split()


class Maker:
    def __init__(self, seed):
        self.seed, self.random = seed, random.Random(seed)

    def pick(self, options):
        return self.random.choice(options)

    def atom(self):
        kind = self.random.random()
        if kind < 0.5:
            return self.pick(NAMES)
        if kind < 0.7:
            return self.pick(NUMBERS)
        return self.pick(STRINGS) if kind < 0.95 else self.pick(("true", "false", "none", "[]", "{}", "()"))

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        sub = lambda: self.expression(depth - 1)  # noqa: E731
        kind = self.random.randrange(15)
        if kind < 3:
            return f"{sub()} {self.pick(BINARY)} {sub()}"
        if kind < 6:
            return f"{sub()} | {self.pick(FILTERS)}"
        if kind == 6:
            return f"{sub()} is {self.pick(('', 'not '))}{self.pick(TESTS)}"
        if kind == 7:
            return f"({sub()}).{self.pick(METHODS)}"
        if kind == 8:
            # a slice of a constant that cannot be sliced is folded to undefined by jinja2, but an error of variables
            slices = ("1:", ":-1", "::-1", "::2", "-2:")
            if self.random.random() < 0.5:
                return f"{self.pick([n for n in NAMES if n != 'none'])}[{self.pick(slices)}]"
            return f"({sub()})[{self.pick((sub(), '0', '-1', chr(39) + 'name' + chr(39)))}]"
        if kind == 9:
            return f"[{sub()}, {sub()}]"
        if kind == 10:
            return f"{{{self.pick(STRINGS)}: {sub()}, 'k': {sub()}}}"
        if kind == 11:
            return f"({sub()} if {sub()} else {sub()})"
        if kind == 12:
            return f"{self.pick(('not ', '-', 'not not '))}{sub()}"
        return f"({sub()})" if kind == 13 else f"({sub()}, {sub()})"

    def sign(self):
        return self.pick(("", "", "", "-", "+"))

    def tag(self, text):
        return "{%" + self.sign() + f" {text} " + self.sign() + "%}"

    def statement(self, depth):
        e, kind = self.expression(self.random.randrange(3)), self.random.randrange(9)
        if depth <= 0 or kind < 3:
            return f"{{{{{self.pick(('', '-'))} {e} {self.pick(('', '-'))}}}}}"
        body = self.body(depth - 1)
        if kind == 3:
            return self.tag(f"if {e}") + body + self.tag("else") + self.body(depth - 1) + self.tag("endif")
        if kind == 4:
            condition = self.pick(("", "", " if x", f" if {self.expression(1)}"))
            return (self.tag(f"for x in {self.pick(('l', 'ls', 'users', 'm', 'range(3)', e))}{condition}")
                    + "{{ loop.index }}" + body + self.tag("endfor"))
        if kind == 5:
            return self.tag(f"set {self.pick(('x', 'y', 'ns.v'))} = {e}")
        if kind == 6:
            return self.tag("set y") + body + self.tag("endset")
        if kind == 7:
            return self.tag("macro mac(x, y=1)") + body + self.tag("endmacro") + f"{{{{ mac({e}) }}}}"
        return self.tag(f"filter {self.pick(('upper', 'trim', 'indent'))}") + body + self.tag("endfilter")

    def body(self, depth):
        text = ("", " ", "\n", " \n ", "a", "é\n", "  ")
        return "".join(self.pick(text) + self.statement(depth) for _ in range(self.random.randrange(1, 3))) + self.pick(text)

    def template(self):
        return "{% set ns = namespace(v=1) %}" + self.body(self.random.randrange(3))
