"""Small templates whose results (text, or that there is an error) must be jinja2's. One a line; \\n is a newline."""

VARIABLES = {
    "s": "Hello World", "u": "Grüße, 日本 🦙", "e": "", "w": "  pad\t\n", "q": "it's \"q\" \\ \n\x01\u200b", "h": "<a href='x'>&amp;</a>",
    "i": 7, "z": 0, "n": -3, "f": 2.5, "g": -0.1, "big": 1e20, "tiny": 1.5e-7, "t": True, "b": False, "none": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "mix": [1, "a", None, 2.0, True, [1], {"k": "v"}],
    "d": {"b": 1, "a": {"x": [1, 2, {"y": "z"}]}, "items": "shadow", "B": None}, "de": {},
    "users": [{"name": "bob", "age": 5, "tags": ["x"]}, {"name": "Al", "age": 30}, {"name": "cy", "age": 5, "on": True}],
    "m": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}],
}

SNIPPETS = r"""
{{ 1 + 2 * 3 ** 2 - -4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** -1 }}
{{ -7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1e3 // 7 }} {{ 2 ** 0.5 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ (-2) ** 3 }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1.0 // 0 }}
{{ 0 ** -1 }}
{{ true + true }} {{ true * 3 }} {{ -true }} {{ +false }} {{ 3 - true }} {{ true == 1 }} {{ 1 == 1.0 }} {{ "1" == 1 }}
{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345680.0 }} {{ 1e-4 }} {{ 1e-5 }} {{ big }} {{ tiny }} {{ 1.0 }} {{ 5e-324 }}
{{ 1.7976931348623157e308 }} {{ 1e400 }} {{ -1e400 }} {{ 100000.0 }} {{ 2.50 }} {{ 1_000 }} {{ 1_0.5 }} {{ 0x1F }} {{ 0b11 }} {{ 0o17 }} {{ 1E3 }}
{{ 007 }}
{{ 1.2.3 }}
{{ l.0 }} {{ l.1 }} {{ m.0.role }} {{ l.9 }}|
{{ "a" "b" 'c' }} {{ "a\tb\x41\u00e9\U0001F999\101\q\'" }} {{ 'it\'s' }} {{ "\\n" }}
{{ "\N{DASH}" }}
{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ 2.0 ~ l }} {{ 'ab' * 3 }}|{{ 3 * 'ab' }}|{{ 'a' * -1 }}|{{ [1] * 2 }} {{ (1,) * 2 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ none + 1 }}
{{ [1] + [2] }} {{ (1,) + (2, 3) }} {{ 'a' * 1.5 }}
{{ [1] + (2,) }}
{{ [] - [] }}
{{ missing }}|{{ missing ~ 'x' }}|{{ [missing] }}|{{ missing is defined }}|{{ missing == nope }}|{{ missing != 1 }}
{{ missing.x }}
{{ missing['x'] }}
{{ missing + 1 }}
{{ missing < 1 }}
{{ -missing }}
{{ missing() }}
{{ d.nope }}|{{ d['nope'] }}|{{ l[10] }}|{{ s.nope }}|{{ none.x }}|{{ i.x }}|{{ d[1] }}|{{ l['x'] }}
{{ d.nope.more }}
{{ d['items'] }} {{ d.a.x[2].y }} {{ d['a']['x'][-1]['y'] }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 4) }}
{{ d.keys() | list }} {{ d.values() | list }} {{ de.items() }} {{ {'a': 1}.items() }} {{ {'a': 1}.keys() }} {{ {1: 2}.values() }}
{{ d['keys'] is callable }} {{ s['upper']() }} {{ d.__class__ }}|{{ s.__len__ }}
{{ {'a': 1, 'b': [1, 2.0, none, true], 3: "x'y", (1, 2): 'é', none: 4, true: 5} }}
{{ {'a': 1, 'a': 2} }} {{ {1: 'a', 1.0: 'b', true: 'c'} }} {{ {[]: 1} }}
{{ {{}: 1} }}
{{ q }} {{ [q] }} {{ [s, u, w, e] }} {{ ["'", '"', "'\"", "\\", "\x7f", "\xa0", "\u2028", "\U000e0001"] }}
{{ (1,) }} {{ () }} {{ (1, 2) }} {{ 1, 2 }} {{ [1, 2,] }} {{ [] }} {{ {} }} {{ ((1)) }}
{{ l[0] }} {{ l[-1] }} {{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-9:2] }} {{ l[2:0:-1] }} {{ l[:] }} {{ l[1:2:] }}
{{ s[0] }} {{ s[-1] }} {{ s[2:5] }} {{ s[::-1] }} {{ u[::-1] }} {{ u[3] }} {{ u[-1] }} {{ u[2:9] }} {{ u[1:8:2] }} {{ u[-3:] }} {{ s[99:] }}|
{{ l[::0] }}
{{ l['a':] }}
{{ i[1:] }}
{{ d[1:] }}
{{ (1, 2, 3)[1:] }} {{ range(10)[2:8:3] }} {{ range(5)[-1] }} {{ range(3) }} {{ range(1, 10, 3) }} {{ range(5, 0, -2) | list }}
{{ s[true] }} {{ l[false] }} {{ l[1.0] }}|
{{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 < 2 == true }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1,) <= (1, 0) }} {{ 'Z' < 'a' }} {{ 'é' > 'z' }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ [1] < (1,) }}
{{ {} < {} }}
{{ 1 in l }} {{ 9 not in l }} {{ 'ell' in s }} {{ '' in '' }} {{ 'b' in d }} {{ 1 in d }} {{ 2 in (1, 2) }} {{ 3 in range(5) }} {{ 'a' in missing }}
{{ 1 in s }}
{{ none in s }}
{{ 1 in 1 }}
{{ [] in d }}
{{ 1 and 0 or 'x' }} {{ '' or [] }} {{ not '' }} {{ not not 1 }} {{ 1 and 2 }} {{ 0 and 1/0 }} {{ 1 or 1/0 }} {{ not 1 == 2 }}
{{ 'y' if i else 'n' }} {{ 'y' if z }}|{{ 'a' if b else 'b' if t else 'c' }} {{ (1 if t) + 1 }}
{{ ('x' if false) + 'y' }}
{{ ('x' if false).y }}
{{ s is string }} {{ s is not number }} {{ i is number }} {{ t is number }} {{ t is integer }} {{ i is integer }} {{ f is float }} {{ t is boolean }} {{ none is none }}
{{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ missing is sequence }} {{ 1 is sequence }} {{ d is mapping }} {{ l is iterable }} {{ 1 is iterable }} {{ missing is iterable }}
{{ range(3) is sequence }} {{ d.items() is sequence }} {{ d.keys() is iterable }} {{ (l|map('string')) is sequence }} {{ (l|map('string')) is iterable }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(4) }} {{ 2.0 is even }} {{ true is odd }} {{ 'a' is in 'abc' }} {{ 1 is in([1]) }}
{{ 'a' is odd }}
{{ t is true }} {{ 1 is true }} {{ b is false }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ '' is lower }} {{ 1 is lower }} {{ range is callable }} {{ s is callable }} {{ missing is callable }}
{{ 1 is eq 1 }} {{ 1 is equalto 2 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is le(1) }} {{ 2 is gt 1 }} {{ 2 is ge 3 }} {{ 2 is greaterthan 1 }} {{ 1 is lessthan 1 }} {{ 1 is sameas 1 }} {{ none is sameas none }} {{ 1 is sameas true }}
{{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'x'|e is escaped }} {{ 'x' is escaped }} {{ s is defined and s is string }} {{ not s is defined }}
{{ 1 is odd is odd }}
{{ 1 is nope }}
{{ 1 | nope }}
{% if false %}{{ 1 | nope }}{% endif %}ok
{% if true %}{{ 1 | nope }}{% endif %}
{{ 1 if true else (1 | nope) }} {{ (1 | nope) if false else 2 }}
{{ 5 is divisibleby 0 }}
{{ s.upper() }} {{ s.lower() }} {{ u.upper() }} {{ u.lower() }} {{ 'ß'.upper() }} {{ 'ΑΣ ΣΑΣ'.lower() }} {{ 'ŉ ﬁ ǆ'.upper() }} {{ 'ǆ ﬁ'.title() }} {{ 'İ'.lower() }} {{ "they're bill's".title() }}
{{ s.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ 'aBc'.swapcase() }} {{ "hello-world foo(bar)"|title }} {{ "they're ÉCOLE 1st"|title }} {{ 'éa b'|capitalize }} {{ 'ǆ'|title }}
{{ s.split() }} {{ s.split('o') }} {{ s.split('o', 1) }} {{ ' a  b '.split() }} {{ ' a  b '.split(' ') }} {{ ' a  b c '.split(none, 1) }} {{ ''.split() }} {{ ''.split('x') }} {{ s.split(maxsplit=0) }} {{ s.split(sep='l', maxsplit=2) }}
{{ s.rsplit('o', 1) }} {{ ' a  b c '.rsplit(none, 1) }} {{ 'a,b,c'.rsplit(',') }} {{ 'aaa'.rsplit('aa') }} {{ 'aaa'.split('aa') }} {{ 'x'.rsplit(maxsplit=0) }}
{{ s.split('') }}
{{ s.split(1) }}
{{ 'a\nb\r\nc\rd\x0be\u2028f'.splitlines() }} {{ 'a\n\n'.splitlines() }} {{ 'a\nb\n'.splitlines(true) }} {{ ''.splitlines() }} {{ 'a\n'.splitlines(keepends=false) }}
{{ [w.strip()] }} {{ [w.lstrip(), w.rstrip()] }} {{ 'xxaxx'.strip('x') }} {{ 'abcba'.strip('ab') }} {{ 'ééaé'.strip('é') }} {{ 'xyz'.lstrip('yx') }} {{ 'a'.strip('') }} {{ '\u3000a\u00a0'.strip() }} {{ 'x'.strip(none) }}
{{ s.strip(1) }}
{{ s.startswith('He') }} {{ s.endswith(('x', 'ld')) }} {{ s.startswith('lo', 3) }} {{ s.startswith('H', 0, 0) }} {{ s.endswith('lo', 0, 5) }} {{ s.startswith('') }} {{ s.startswith('', 99) }} {{ s.startswith(()) }}
{{ s.startswith(1) }}
{{ s.startswith(['H']) }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s.replace('', '-') }} {{ 'é日'.replace('', '.') }} {{ 'abc'.replace('', '-', 2) }} {{ s.replace('x', 'y') }} {{ s.replace('o', '', -1) }} {{ ''.replace('', 'x') }}
{{ s.replace('l') }}
{{ s.replace('l', 1) }}
{{ s.replace(old='l', new='x') }}
{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('zz') }} {{ s.find('o', 5) }} {{ s.find('o', 5, 6) }} {{ u.find('日') }} {{ u.rfind('本') }} {{ s.find('', 3) }} {{ s.find('', 99) }} {{ s.rfind('') }} {{ s.index('W') }} {{ s.find('l', -3) }} {{ u.rfind('e', 2, -1) }}
{{ s.index('zz') }}
{{ s.count('l') }} {{ s.count('') }} {{ 'aaaa'.count('aa') }} {{ s.count('l', 3) }} {{ s.count('l', 3, -2) }} {{ 'é'.count('') }}
{{ ', '.join(ls) }} {{ ''.join([]) }} {{ '-'.join('abc') }} {{ '-'.join(d) }} {{ ','.join({'a': 1}.keys()) }}
{{ ','.join([1]) }}
{{ ','.join(1) }}
{{ '5'.isdigit() }} {{ '²'.isdigit() }} {{ '½'.isdigit() }} {{ '½'.isnumeric() }} {{ '²'.isdecimal() }} {{ 'aé'.isalpha() }} {{ 'a1'.isalnum() }} {{ ''.isalpha() }} {{ ' \t'.isspace() }} {{ 'A'.isupper() }} {{ 'Aa'.istitle() }} {{ 'a_1'.isidentifier() }} {{ '1a'.isidentifier() }} {{ 'é'.isascii() }} {{ '\n'.isprintable() }} {{ 'aA'.islower() }} {{ ''.isascii() }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }} {{ 'abc'.removeprefix('x') }} {{ 'aaa'.removeprefix('a') }} {{ 'abc'.removesuffix('') }}
{{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ '+1'.zfill(4) }} {{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4, '.') }} {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }} {{ 'é'.ljust(3, '日') }} {{ 'ab'.center(1) }} {{ 'a'.center(4) }}|
{{ 'a'.ljust(4, 'xy') }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ 'abc'.rpartition('x') }} {{ 'a\tb'.expandtabs() }} {{ 'a\tb'.expandtabs(2) }}
{{ '{} {}'.format(1, 'a') }} {{ '{1}{0}{1}'.format('a', 'b') }} {{ '{x}-{y!r}'.format(x=1, y='q') }} {{ '{{}}'.format() }} {{ '{0[k]} {1.role}'.format({'k': 5}, m[0]) }} {{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }}
{{ '{:5d}|{:05d}|{:+d}|{:x}|{:#x}|{:o}|{:b}|{:,}|{:_}'.format(42, 42, 42, 255, 255, 8, 5, 1234567, 1234567) }} {{ '{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:,.2f}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25, 1234567.891) }}
{{ '{:.3}|{:10.2}|{:.0f}|{:g}|{:G}|{}'.format('abcdef', 'xyz', 2.5, 1e10, 1e-10, 1e22) }} {{ '{:{}}'.format('a', 4) }}| {{ '{:c}{:d}'.format(65, true) }} {{ '{!s}'.format(none) }} {{ '{:010.3f}|{:-^9d}|{: d}'.format(-3.14159, 5, 7) }}
{{ '{:.3}|{:.10}|{:.1}|{:.2}'.format(3.14159, 2.5, 25.0, 1234.5) }} {{ '{:5}|{:<5}|{:5}'.format(1, 2, 1.5) }} {{ '{:,}|{:08,}|{:,.1f}'.format(-1234567, 1234, 12345.67) }} {{ '{:+.1e}|{:E}'.format(12345.0, 0.00012) }}
{{ '{}'.format() }}
{{ '{x}'.format(1) }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '{0} {}'.format(1, 2) }}
{{ '{:d}'.format('a') }}
{{ '{:z}'.format(1) }}
{{ '%s %d %r' % ('a', 5, 'b') }} {{ '%s' % 'x' }} {{ '%s' % l }} {{ '%(a)s-%(b)05.1f' % {'a': 1, 'b': 2.25} }} {{ '%5s|%-5s|%.2s|%5.1f|%x|%X|%o|%c|%%|%e|%g' % ('a', 'b', 'cde', 3.14159, 255, 255, 8, 'z', 12345.678, 0.00001) }} {{ '%+d % d %05d %-5d|' % (1, 2, 3, 4) }} {{ '%i %u' % (3.9, true) }} {{ '%#x %#o' % (255, 8) }} {{ '%*d' % (5, 42) }}
{{ '%d' % 'a' }}
{{ '%s %s' % ('a',) }}
{{ '%s' % (1, 2) }}
{{ 'x' % 1 }}
{{ 'x' % {} }} {{ 'x' % l }} {{ '%s' % none }}
{{ '%q' % 1 }}
{{ '%' % 1 }}
{{ '%(a)s' % {} }}
{{ '%x' % 1.5 }}
{{ 3 | abs }} {{ -3.5 | abs }} {{ true | abs }} {{ n | abs }} {{ -2 | abs }}
{{ 'a' | abs }}
{{ 42.55 | round }} {{ 42.55 | round(1) }} {{ 42.55 | round(1, 'floor') }} {{ 42.55 | round(1, 'ceil') }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 7 | round }} {{ 1234 | round(-2) }} {{ 1250 | round(-2) }} {{ -2.675 | round(2) }} {{ 42 | round(1, 'ceil') }} {{ 1234.5 | round(-2) }} {{ 2.5 | round | int }} {{ 0.5 | round(0, 'ceil') }}
{{ 1 | round(method='nope') }}
{{ '42' | int }} {{ '42.7' | int }} {{ 'x' | int }} {{ 'x' | int(-1) }} {{ '0x1f' | int(base=16) }} {{ 'ff' | int(0, 16) }} {{ ' 5 ' | int }} {{ none | int }} {{ l | int }} {{ 3.9 | int }} {{ -3.9 | int }} {{ '1_000' | int }} {{ '1e3' | int }} {{ '0b11' | int(0, 2) }} {{ '0x' | int(7, 16) }} {{ '0o17' | int(0, 0) }} {{ '010' | int(3, 0) }} {{ '-7' | int }} {{ '+7' | int }} {{ '' | int }} {{ '- 7' | int(9) }} {{ 'inf' | int(8) }} {{ 'nan' | int(8) }} {{ true | int }}
{{ '3.5' | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ 3 | float }} {{ none | float }} {{ '1e5' | float }} {{ ' 2 ' | float }} {{ '1_0.5' | float }} {{ 'inf' | float }} {{ '-nan' | float }} {{ '0x10' | float }} {{ '.5' | float }} {{ '5.' | float }} {{ 'infinity' | float }} {{ '1e' | float }}
{{ missing | int }}
{{ missing | float }}
{{ missing | abs }}
{{ 10**18 }} {{ 5 | string ~ 'x' }} {{ 5 | string | length }} {{ none | string }} {{ missing | string }}|
{{ s | length }} {{ u | length }} {{ l | count }} {{ d | length }} {{ missing | length }} {{ range(7) | length }} {{ d.items() | length }}
{{ 5 | length }}
{{ none | length }}
{{ (l | map('string')) | length }}
{{ l | first }} {{ l | last }} {{ s | first }} {{ s | last }} {{ d | first }} {{ d | last }} {{ le | first }}| {{ le | last }}| {{ range(3) | last }} {{ u | last }} {{ (l | map('abs')) | first }}
{{ missing | first }}|
{{ missing | last }}
{{ (l | map('abs')) | last }}
{{ 1 | first }}
{{ l | join }} {{ l | join(', ') }} {{ l | join(d='-') }} {{ users | join(', ', attribute='name') }} {{ s | join('.') }} {{ missing | join }}| {{ mix | join(1) }} {{ d | join('/') }} {{ d.items() | join }}
{{ 1 | join }}
{{ l | sort }} {{ l | sort(reverse=true) }} {{ ls | sort }} {{ ls | sort(case_sensitive=true) }} {{ ls | sort(true) }} {{ users | sort(attribute='age') | map(attribute='name') | join(',') }} {{ users | sort(attribute='age,name') | map(attribute='name') | join(',') }} {{ users | sort(attribute='age', reverse=true) | map(attribute='name') | list }} {{ d | sort }} {{ 'bca' | sort }}
{{ mix | sort }}
{{ ls | unique | list }} {{ ['b', 'B', 'a', 'b'] | unique | list }} {{ ['b', 'B'] | unique(true) | list }} {{ users | unique(attribute='age') | map(attribute='name') | list }} {{ [1, 1.0, true, 2] | unique | list }}
{{ [[1], [1]] | unique | list }}
{{ l | min }} {{ l | max }} {{ ls | min }} {{ ls | max }} {{ le | min }}| {{ users | max(attribute='age') }} {{ ls | min(case_sensitive=true) }} {{ 'hello' | max }}
{{ mix | max }}
{{ l | sum }} {{ le | sum }} {{ l | sum(start=10) }} {{ users | sum(attribute='age') }} {{ [0.1, 0.2] | sum }} {{ [[1], [2]] | sum(start=[]) }}
{{ ls | sum }}
{{ ls | sum(start='') }}
{{ l | reverse | list }} {{ s | reverse }} {{ u | reverse }} {{ d | reverse | list }} {{ (l | map('abs')) | reverse }} {{ range(3) | reverse | list }}
{{ 1 | reverse }}
{{ l | list }} {{ s | list }} {{ d | list }} {{ range(3) | list }} {{ missing | list }} {{ u | list }}
{{ l | batch(2) | list }} {{ l | batch(2, 'x') | list }} {{ range(7) | slice(3) | list }} {{ range(7) | slice(3, 'x') | list }} {{ le | batch(2) | list }} {{ l | batch(0) | list }}
{{ l | slice(0) | list }}
{{ users | groupby('age') }} {% for g, us in users | groupby('age') %}{{ g }}:{{ us | length }};{% endfor %}{% for g in users | groupby('age') %}{{ g.grouper }}{{ g.list | length }}{% endfor %} {{ users | groupby('on', default='?') | map(attribute='grouper') | list }} {{ [{'k': 'A'}, {'k': 'a'}] | groupby('k') | length }} {{ [{'k': 'A'}, {'k': 'a'}] | groupby('k', case_sensitive=true) | length }}
{{ users | groupby('on') }}
{{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'A': 2} | dictsort(true) }} {{ {'b': 1, 'A': 2} | dictsort(by='value') }} {{ {'b': 1, 'A': 2} | dictsort(false, 'key', true) }} {% for k, v in d | dictsort(by='key') %}{{ k }}{% endfor %}
{{ d | dictsort(by='value') }}
{{ d | dictsort(by='nope') }}
{{ l | dictsort }}
{{ {'a': 1} | items | list }} {{ missing | items | list }} {% for k, v in {'a': 1, 'b': 2} | items %}{{ k }}{{ v }}{% endfor %}
{{ l | items | list }}
{{ users | map(attribute='name') | list }} {{ users | map(attribute='nope') | list }} {{ users | map(attribute='nope', default='-') | list }} {{ ls | map('upper') | list }} {{ l | map('round', 1) | list }} {{ ls | map('replace', 'a', 'x') | join }} {{ users | map(attribute='tags.0') | list }} {{ m | map(attribute='content') | map('length') | sum }} {{ [[1, 2]] | map(attribute=0) | list }} {{ le | map('nope') | list }} {{ l | map('default', default=1) | list }}
{{ l | map('nope') | list }}
{{ l | map | list }}
{{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ mix | select | list }} {{ mix | reject | list }} {{ l | select('gt', 1) | list }} {{ l | select('>', 1) | list }} {{ users | selectattr('on') | map(attribute='name') | list }} {{ users | rejectattr('on') | map(attribute='name') | list }} {{ users | selectattr('age', 'equalto', 5) | map(attribute='name') | list }} {{ users | selectattr('on', 'defined') | list | length }} {{ m | selectattr('role', '==', 'user') | list }} {{ l | select('in', [1, 2]) | list }} {{ mix | select('string') | list }} {{ missing | select | list }}
{{ l | select('nope') | list }}
{{ l | selectattr | list }}
{{ (l | map('abs'))[0] }}|{{ (l | select).x }}|{{ 'y' if l | select('gt', 9) else 'n' }} {{ l | select('odd') | map('string') | join('+') }} {% set g = l | map('abs') %}{{ g | list }}{{ g | list }}
{{ missing | default('d') }} {{ e | default('d') }} {{ e | default('d', true) }} {{ none | default('d') }} {{ none | d('x', boolean=true) }} {{ z | default(5, true) }} {{ d.nope | default(d.b) }} {{ missing | default }}|{{ missing.x | default('d') if missing else 'safe' }}
{{ missing.x | default('d') }}
{{ s | upper }} {{ s | lower }} {{ l | upper }} {{ none | lower }} {{ w | trim }}| {{ 'xxaxx' | trim('x') }} {{ 5 | trim }} {{ s | replace('l', 'L') }} {{ s | replace('l', 'L', 2) }} {{ 1231 | replace(1, 9) }} {{ s | replace('', '.') }} {{ s | capitalize }} {{ 'x' | center(5) }}| {{ s | wordcount }} {{ 'a-b c_d é' | wordcount }}
{{ 'a\nb\n\nc' | indent }} {{ 'a\nb' | indent(2, true) }} {{ 'a\n\nb' | indent(2, blank=true) }} {{ 'a\nb' | indent('>>') }} {{ 'a\nb' | indent(width=1, first=true) }} {{ '' | indent(first=true) }}| {{ 'a\n' | indent(2) }}|
{{ 5 | indent }}
{{ s | truncate(8) }} {{ s | truncate(5) }} {{ 'Hello World foo bar' | truncate(9) }} {{ 'Hello World foo bar' | truncate(9, true) }} {{ 'Hello World foo bar' | truncate(9, true, '..', 0) }} {{ 'Hello World foo bar' | truncate(11, end='…', leeway=0) }} {{ s | truncate(11) }}
{{ s | truncate(2) }}
{{ h | e }} {{ h | escape | escape }} {{ h | forceescape }} {{ h | striptags }} {{ h | safe }} {{ ('<' | e) + '<' }} {{ '<' + ('<' | e) }} {{ ('<' | e) ~ '<' }} {{ [h | e] }} {{ (h | safe) | e }} {{ '%s' | safe % '<' }} {{ ('<%s>' | safe) | format('<') }} {{ ('<b>' | safe).upper() + '<' }} {{ ('a' | safe).join(['<', '>']) }} {{ ('{}' | safe).format('<') }} {{ ('a' | safe).replace('a', '<') }} {{ 5 | e }} {{ ('x' | safe) * 2 }} {{ ['<'|safe] | join('<') }}
{{ '<!-- c --><p>a  b</p> &lt;' | striptags }} {{ 'a b/c?é=&' | urlencode }} {{ {'a b': 'c/d', 'e': 1} | urlencode }} {{ [('x', 'y z')] | urlencode }} {{ 5 | urlencode }} {{ {'a': '<', 'b': none} | xmlattr }}| {{ {'a': 1} | xmlattr(false) }}
{{ 1 | filesizeformat }} {{ 999 | filesizeformat }} {{ 1000 | filesizeformat }} {{ 1234567 | filesizeformat }} {{ 1024 | filesizeformat(true) }} {{ 10**15 | filesizeformat }} {{ 10**15 | filesizeformat }} {{ 1e30 | filesizeformat }}
{{ '%s-%d' | format('a', 1) }} {{ '%(x)s' | format(x=1) }}
{{ '%s' | format('a', x=1) }}
{{ d | attr('b') }}|{{ d | attr('get') is callable }} {{ s | attr('upper') is callable }} {{ s | attr('nope') }}|
{{ d | tojson }} {{ mix | tojson }} {{ d | tojson(indent=2) }} {{ d | tojson(separators=(',', ':')) }} {{ d | tojson(sort_keys=true, indent='\t') }} {{ q | tojson }} {{ u | tojson }} {{ u | tojson(ensure_ascii=true) }} {{ u | tojson(true) }} {{ le | tojson(indent=4) }} {{ de | tojson(indent=4) }} {{ [1, [2]] | tojson(indent=0) }} {{ 1e20 | tojson }} {{ 1e400 | tojson }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }} {{ "\x7f\u2028" | tojson }} {{ "\x7f" | tojson(true) }} {{ h | tojson }} {{ (h | e) | tojson }} {{ [1,2] | tojson(indent=-1) }}
{{ missing | tojson }}
{{ range(3) | tojson }}
{{ d.items() | tojson }}
{{ {(1, 2): 3} | tojson }}
{{ {'a': 1, 2: 3} | tojson(sort_keys=true) }}
{{ d | tojson(indent=2, separators=(',', ': '), sort_keys=false, ensure_ascii=false) }} {{ none | tojson }} {{ true | tojson }}
{{ d | tojson(nope=1) }}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }};{% endfor %}
{% for x in le %}x{% else %}empty{% endfor %}{% for x in l %}x{% else %}empty{% endfor %}{% for x in missing %}{% else %}none{% endfor %}
{% for x in none %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for k, v in d.values() | list | batch(2) %}{{ k }}{% endfor %}
{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for a, b in ['xy'] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% else %}no{% endfor %}{% for x in l if x > 9 %}{% else %}no{% endfor %}{% for x in l if x != 1 %}{{ loop.previtem }}{{ loop.nextitem }}|{% endfor %}
{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %}{% for x in l %}{% for y in l %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}
{% break %}
{% for x in [[1, [2]], 3] recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}
{% for x in l %}{{ loop(x) }}{% endfor %}
{% for x in l %}{{ loop }}{% endfor %}{% for x in 'aé' %}[{{ x }}]{% endfor %}{% for k in d %}{{ k }}{% endfor %}
{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}{{ loop }}|
{% for x in l %}{% set y = x %}{% endfor %}{{ y }}|{{ x }}|{% set x = 1 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(a=1, b=[]) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns['a'] }}{{ ns.zz }}|{{ ns.zz is defined }}{% set ns.c = 5 %}{{ ns.c }} {{ namespace({'a': 1}, b=2).b }} {{ ns }}
{% set x = 1 %}{% set x.y = 2 %}
{% set nope.y = 2 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set a, b = b, a %}{{ a }}{{ b }}{% set (c, d2) = 'xy' %}{{ c }}{{ d2 }}{% set t1 = 1, %}{{ t1 }}
{% set a, b = 1 %}
{% set a, b = [1, 2, 3] %}
{% set x %}a{{ 1 }}b{% endset %}{{ x }}{% set y | upper | replace('A', 'z') %}abc{% endset %}{{ y }}{{ x is string }}
{% if true %}{% set v = 1 %}{% endif %}{{ v }}{% if false %}{% set w2 = 1 %}{% endif %}{{ w2 }}|{% set k %}{% set inner = 1 %}x{% endset %}{{ inner }}|
{% if z %}a{% elif i %}b{% else %}c{% endif %}{% if z %}a{% elif none %}b{% else %}c{% endif %}{% if le %}1{% endif %}{% if not le and s == 'Hello World' %}2{% endif %}
{% macro m1(a, b=2, c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m1(1) }} {{ m1(1, c=3) }} {{ m1(b=1, a=0) }} {{ m1() }} {{ m1(1, 2, 3) }} {{ m1(*[1, 2]) }} {{ m1(**{'a': 7}) }} {{ m1(*[1], **{'c': 9}) }} {{ m1 }} {{ m1.name }}
{% macro m1(a) %}{{ a }}{% endmacro %}{{ m1(1, 2) }}
{% macro m1(a) %}{{ a }}{% endmacro %}{{ m1(x=2) }}
{% macro m1(a) %}{{ a }}{% endmacro %}{{ m1(1, a=2) }}
{% macro m1() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m1(1, 2, x=3) }}{{ m1() }}
{% macro m1(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m1(1) }}
{% macro m1(a, a) %}{% endmacro %}
{% macro m1(a=1, b) %}{% endmacro %}
{% macro wrap(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call wrap('b') %}in{{ s }}{% endcall %}{% macro l2(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(y) l2(l) %}[{{ y }}]{% endcall %}
{% macro nc() %}x{% endmacro %}{% call nc() %}in{% endcall %}
{% macro cc() %}{{ caller() }}{% endmacro %}{{ cc() }}
{% macro cc() %}{{ caller is defined }}{% endmacro %}{{ cc() }}
{% macro outer() %}{{ zz }}{% endmacro %}{% set zz = 5 %}{{ outer() }}{% macro fact(n) %}{{ 1 if n < 2 else n * (fact(n - 1) | int) }}{% endmacro %}{{ fact(5) }}
{% macro a1() %}{% set x = 1 %}{{ x }}{% endmacro %}{% set x = 2 %}{{ a1() }}{{ x }}{% for i in [1] %}{% macro in_loop() %}{{ i }}{% endmacro %}{{ in_loop() }}{% endfor %}
{% filter upper %}abc{{ s }}{% endfilter %}{% filter replace('a', 'b') | upper %}aaa{% endfilter %}{% filter trim %}  x  {% endfilter %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}|{% with %}{% set q1 = 1 %}{{ q1 }}{% endwith %}{{ q1 }}|{% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}
{% raw %}{{ x }}{% endraw %}|{%- raw -%}  {{ y }}  {%- endraw -%}  |{% raw %}{% if %}{% endraw %}
a {#- c -#} b{# x #}
a  {%- if true -%}  b  {%- endif %}  c  {{- 1 -}}  d  {%+ if true +%} e {%+ endif +%} f
{% generation %}{% set gg = 1 %}x{{ s }}{% endgeneration %}{{ gg }}|{% print 1, 'a' %}
{{ range(3) | list }}{{ range(2, 5) | list }}{{ dict(a=1, b=2) }}{{ dict({'x': 1}, y=2) }}{{ dict([('a', 1)]) }}{{ dict() }}
{{ range() }}
{{ range(1.5) }}
{{ range(0, 5, 0) }}
{{ dict(1) }}
{{ range(200000) }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}{% set j = joiner('-') %}{{ j() }}x{{ j() }}y{{ j() }}
{{ raise_exception('boom') }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %%') }}{{ strftime_now('') }}
{{ s() }}
{{ s.upper(1) }}
{{ s.upper(x=1) }}
{{ d.get() }}
{{ l | join(nope=1) }}
{{ l | first(1) }}
{{ foo(**1) }}
{{ range(*5) }}
{{ dict(**{1: 2}) }}
{{ (1).x }}|{{ none }}{{ none == none }}{{ None is none }}{{ True }}{{ False }}
{{ [1, 2][0] }}{{ 'abc'[1] }}{{ {'a': {'b': 1}}.a.b }}{{ [[1]][0][0] }}{{ (s ~ i)[0:3] }}{{ s.split()[0].lower() }}{{ not s.x }}{{ - - 1 }}{{ +1 }}
{{ 1 if }}
{{ }}
{{ 1 2 }}
{{ (1 }}
{{ a b }}
{{ 'x }}
{{ x. }}
{{ 1 | }}
{{ f( }}
{{ f(a=1, 2) }}
{{ f(a=1, a=2) }}
{{ [1 2] }}
{{ {'a' 1} }}
{{ {'a': 1 }}
{% if %}x{% endif %}
{% if x %}
{% endif %}
{% for %}{% endfor %}
{% for x l %}{% endfor %}
{% for 1 in l %}{% endfor %}
{% for loop in l %}{% endfor %}
{% set 1 = 2 %}
{% set x %}
{% set x = %}
{% set true = 1 %}
{% nope %}
{% %}
{% macro %}{% endmacro %}
{% macro m( %}{% endmacro %}
{% call 1 %}{% endcall %}
{% filter %}{% endfilter %}
{% filter nope %}{% endfilter %}
{% else %}
{% if 1 %}{% else %}{% elif 1 %}{% endif %}
{# open
{% raw %}x
{{ $ }}
{{ a ? b }}
{{ x := 1 }}
{{ "a" if "b" else }}
text only } } %} #} }} {
{ { % %}
{{ '{{' }}{{ '}}' }}{{ "%}" }}{{ {'a': {'b': 1}}['a'] }}{{ {'a':{}}}}
{{ l[1:2, 3] }}
{{ l[] }}
{{ {'a': 1}[('a')] }}{{ l[(1)] }}{{ {(1, 2): 3}[1, 2] }}
{{ s|upper|lower|title }}{{ s | upper() }}{{ (s | length) + 1 }}{{ -1 | abs }}{{ 'a' ~ 'b' | upper }}{{ 1 + 2 | string }}
{{ 2 * 3 ~ 4 }}{{ 1 ~ 2 + 3 }}
{{ 'a' in 'abc' and 'z' not in 'abc' }}{{ 1 not in [1] }}{{ not 1 in [1] }}{{ 'a' is string in [true] }}
{{ 10**400 is undefined }}
{{ m[0].role == 'user' and m[0]['content'] }}{{ m[-1].role }}{{ m | length - 1 }}{{ (m | last).content }}{{ m[1:] | map(attribute='role') | join }}
{{ 'a\
b' }}
{{ "x" * 3 + "y" }}{{ ["x"] * 2 + ["y"] }}{{ '%s' % ('a' ~ 1) }}{{ 'a' 'b'.upper() }}
{{ l == [3, 1, 2] }}{{ d == {'b': 1} }}{{ (1, 2) == [1, 2] }}{{ [1.0] == [true] }}{{ {'a': [1]} == {'a': [1.0]} }}{{ 'a' != 'b' }}{{ range(3) == range(0, 3) }}{{ none == false }}
{{ 1.5 | string }}{{ l | string }}{{ d | string | length }}{{ [1, 'a'] ~ '' }}{{ 3.0 ~ '' }}{{ 1e100 }}{{ 0.1 }}{{ 1/3 }}{{ 100 * 1.1 }}{{ 1e22 }}{{ 123456.789e3 }}
""".strip("\n").split("\n")

# Templates with several lines: whitespace control, with trim_blocks and lstrip_blocks on.
BLOCKS = [
    "{% if true %}\n  a\n{% endif %}\nb\n", "  {% if true %}\n  a\n  {% endif %}\n  b\n\n", "a\n  {% if true %}x{% endif %}\n",
    "x  {% if true %} y {% endif %}  \n z", "\n\n  {{ 1 }}\n\n  {{- 2 -}}  \n  3", "a\n  {#- c -#}\n  b", "a\n  {# c #}\n  b", "  {# c #}  \n x",
    "{%- for i in l -%}\n  {{ i }}\n{%- endfor -%}\n  end", "{% for i in l %}\n  {{ i }},\n{% endfor %}\nend\n", "{%+ if true +%}\n x {%+ endif +%}\ny",
    "  {%+ if true %} x{% endif %}", "\t {% set x = 1 %}\n{{ x }}", "a \u00a0 {%- if true %}b{% endif %}", "{% raw %}\n  {{ x }}\n{% endraw %}\n end",
    "  {% raw -%}\n  x\n  {%- endraw %}\n  y", "a\r\nb{% if true %}\r\n c{% endif %}\r d\r\n", "{{ 'a\r\nb' }}", "a\n", "a\n\n", "\n", "", "\n{% if true %}\n{% endif %}\n",
    "{% set x %}\n a\n{% endset %}\n[{{ x }}]", "{% macro m() %}\n  x\n{% endmacro %}\n[{{ m() }}]", "{{ 1 }}\n{{ 2 }}\n", "  {{ 1 }}\n  {% if true %}\n",
    "{%\n if\n true\n%}\nx{%-\nendif\n-%}\n y", "{{\n1\n+\n2\n}}", "{{ l\n | join(',\n') }}", "{% if true %} {% endif %}\n{% if true %}\n\n{% endif %}",
    "{#- a -#}{#+ b +#}\n{# c -#}\n  d", "a{#\n{% if %}\n#}b", "{% if true -%}\n\n   x   \n\n{%- endif %}\ny", "x{%- set a = 1 -%}y{%- set b = 2 +%}\nz",
    "{% for x in l %}{% if loop.first %}\n  first\n  {% elif loop.last %}\n  last\n  {% else %}\n  mid\n  {% endif %}\n{% endfor %}",
    "{% call(x) m() %}{% endcall %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}",
]

# Methods that change a list or dict: what SandboxedEnvironment (not its immutable kin) gives.
CHANGES = r"""
{% set a = [1] %}{{ a.append(2) }}{{ a }}{{ a.extend('xy') }}{{ a }}{{ a.insert(0, 'z') }}{{ a.insert(-1, 'q') }}{{ a.insert(99, 'e') }}{{ a }}{{ a.pop() }}{{ a.pop(0) }}{{ a }}
{% set a = [3, 1, 2] %}{{ a.sort() }}{{ a }}{{ a.reverse() }}{{ a }}{{ a.remove(2) }}{{ a }}{{ a.index(1) }}{{ a.count(3) }}{{ a.copy() }}{{ a.clear() }}{{ a }}
{{ [].pop() }}
{{ [1].pop(3) }}
{{ [1].remove(2) }}
{{ [1].index(2) }}
{% set b = {'a': 1} %}{{ b.update({'b': 2}) }}{{ b.update(c=3) }}{{ b }}{{ b.pop('a') }}{{ b.pop('zz', 9) }}{{ b.setdefault('b', 7) }}{{ b.setdefault('n') }}{{ b }}{{ b.copy() }}{{ b.clear() }}{{ b }}
{{ {}.pop('a') }}
{% set a = [] %}{% for i in range(30) %}{{ a.append(i) or '' }}{% endfor %}{{ a | length }}{% set b = {} %}{% for i in range(40) %}{{ b.update({i: i * 2}) or '' }}{% endfor %}{{ b[39] }}{% for i in range(0, 40, 3) %}{{ b.pop(i) }}{% endfor %}{{ b }}
""".strip("\n").split("\n")
