"""Small templates with what transformers' Jinja makes of them, for packages/core/test/fixtures/chat-templates.json.

    python bench/peer/chat_templates.py > packages/core/test/fixtures/chat-templates.json

Needs transformers and jinja2 (the data were made with transformers 5.18, jinja2 3.1.6, Python 3.11). The templates are
rendered by transformers' own environment, its clock set to 2024-07-09 05:07:03.042. A case holds the template, its
output, or the error of jinja2 in its place; the variables are the same for all.
"""

import datetime
import json
import sys

from transformers.utils import chat_template_utils


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 9, 5, 7, 3, 42000)


chat_template_utils.datetime = Clock

VARIABLES = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi \n"},
        {"role": "assistant", "content": "\n\n The answer.\n"},
    ],
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "text": "Hello, World",
    "padded": " \t x y \n",
    "empty": "",
    "emoji": "a😀é日b",
    "numbers": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "record": {"b": 1, "a": {"x": [1, 2.5, None, True, "t"]}, "C": "é"},
    "people": [
        {"name": "Ann", "age": 30, "city": {"name": "Oslo"}, "tags": ["x"]},
        {"name": "bob", "age": 25, "city": {"name": "rome"}, "tags": []},
        {"name": "Cid", "age": 30, "city": {"name": "Oslo"}},
    ],
    "tree": [{"n": 1, "kids": [{"n": 2, "kids": []}, {"n": 3, "kids": [{"n": 4, "kids": []}]}]}, {"n": 5, "kids": []}],
    "half": 2.5,
    "yes": True,
    "no": False,
    "nothing": None,
}

# Each is one expression, printed between brackets.
EXPRESSIONS = r"""
true
false
none
True
None
missing
1
-1
1.0
1.5
100000000000000000000.0
1e15
1e16
1e22
1e-4
1e-5
1.5e300
0.1 + 0.2
123456789.123456789
12345678901234567890
12345678901234567890 + 1
half
-0.0
1_000
0x1F
0b101
0o17
1_0.5_0
'a' 'b' "c"
'it\'s'
"tab\tnew\nback\\ \x41 \u00e9 \U0001F600 \101 \d \/"
'é\é'
yes
nothing
numbers
words
record
people[0]
[]
{}
()
(1,)
(1, 'a')
[1, [2, (3, {'k': none})]]
{'a': 1, 'b': [true, false, none, 1.0, missing]}
['it\'s', 'say "x"', 'both \' and "', 'nl\n', 'tab\t', 'b\\s', 'é', '😀', '\x07', '\u200b', '\u2028', '\u00a0']
{1: 2, 'x': (1, 2)}
1 + 2
1 - 2
2 * 3
7 / 2
6 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 // 2
7.5 % 2
-7.5 % 2
2 ** 10
2 ** 3 ** 2
2 ** -1
2.0 ** 3
-2 ** 2
4 ** 0.5
2 ** 100
1 / 3
10 / 4.0
1 / 0
1 // 0
1 % 0
true + 1
true * 3
-true
+'a'
'a' + 'b'
'a' + 1
1 + 'a'
'a' * 3
3 * 'ab'
'=' * 5
'a' * 0
'a' * -1
[1] * 3
[1, 2] + [3]
(1, 2) + (3,)
[1] + (2,)
'a' ~ 1 ~ none ~ true ~ 1.5 ~ missing ~ [1]
1 + 2 ~ 3
1 ~ 2 * 3
'%s' % 'x'
'%s and %s' % ('x', 1)
'%d%%' % 5
'%5d|%-5d|%05d|%+d' % (1, 2, 3, 4)
'%.2f %8.3f %e %g %g' % (3.14159, 2.5, 12345.678, 0.0001, 1e10)
'%x %X %o %#x' % (255, 255, 8, 255)
'%r %s' % ('a', 'a')
'%(a)s-%(b)d' % {'a': 'x', 'b': 2}
'%s' % [1, 2]
'%s' % {'a': 1}
'%c%c' % (65, 'b')
'%5s|%-5s|%.2s' % ('ab', 'cd', 'efg')
'%s %s' % 'x'
'%s' % ('x', 'y')
'%.0f %.0f %.0f %.1f' % (0.5, 1.5, 2.5, 0.25)
'%i' % 3.9
'%d' % 'x'
'%z' % 1
'%'
1 < 2
1 < 2 < 3
3 > 2 > 2
1 == 1.0
1 == true
0 == false
'1' == 1
'a' < 'b'
'Z' < 'a'
'a' < 'ab'
'￿' < '😀'
[1, 2] == [1, 2]
[1, 2] < [1, 3]
[1] <= [1]
(1, 2) == (1, 2)
[1, 2] == (1, 2)
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
{'a': [1]} == {'a': [1]}
{'a': 1} != {'a': 2}
none == none
none == false
missing == none
missing == missing2
missing != 1
'' == false
'' != false
empty == ''
1 < 'a'
none < 1
missing < 1
[] < {}
'ell' in text
'x' not in text
1 in numbers
9 in numbers
'b' in record
'role' in messages[0]
1 in [1.0]
none in [none]
missing in [1]
missing in 'abc'
1 in 'abc'
1 in 5
'a' in missing
'a' in none
2 in range(5)
[1] in [[1]]
'' in 'abc'
not true
not 'a'
not not none
not 1 == 2
not 'a' in 'abc'
1 and 2
0 and 2
0 or 'x'
none or 0 or ''
1 or missing.x
false and missing.x
1 if true else 2
1 if false else 2
1 if false
'a' if 0 else 'b' if 0 else 'c'
(1 if false) is defined
1 if true if false else 3
text.upper()
text.lower()
text.title()
text.capitalize()
text.swapcase()
'they\'re bill\'s friends'.title()
'hello wORLD'.capitalize()
'ßa'.capitalize()
'ǆa'.title()
'éA'.capitalize()
'ﬁa'.capitalize()
'straße'.upper()
'ΑΣ'.lower()
'İ'.lower()
'ABC'.casefold()
padded.strip()
padded.lstrip()
padded.rstrip()
'xxabcxx'.strip('x')
'\n\n The answer.\n'.lstrip('\n')
'\n\n The answer.\n'.rstrip('\n')
' \n a'.strip('\n')
'abcba'.strip('ab')
'[[a]]'.strip('[]')
'😀a😀'.strip('😀')
'a-b'.strip('')
' a '.strip(none)
'\ufeffa\ufeff'.strip()
'\x1ca\x85'.strip()
' a\u3000'.strip()
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.split(',', 0)
'a,b,c'.split(',', maxsplit=1)
'a,b,c'.split(sep=',')
'  a  b c '.split()
'  a  b c '.split(none, 1)
'  a  b c  '.split(maxsplit=1)
''.split()
''.split(',')
'a'.split('')
'abc'.split('abc')
'a,b,c'.rsplit(',')
'a,b,c'.rsplit(',', 1)
'a,b,c'.rsplit(',', maxsplit=1)
'  a  b c '.rsplit()
'  a  b c '.rsplit(none, 1)
'  a  b  c '.rsplit(none, 2)
'a b'.rsplit(none, 0)
'<think>x</think>y'.split('</think>')[-1]
'<think>x</think>y'.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')
'a\nb\r\nc\rd\x0be\u2028f\n'.splitlines()
'a\nb\n'.splitlines(true)
'\n'.splitlines()
''.splitlines()
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('=')
'abc'.rpartition('=')
'aXbXc'.replace('X', '-')
'aXbXc'.replace('X', '-', 1)
'aXbXc'.replace('X', '-', 0)
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
'a😀b'.replace('', '-')
'aaa'.replace('aa', 'b')
'abc'.find('c')
'abc'.find('x')
emoji.find('b')
emoji.rfind('é')
'abcabc'.rfind('b')
'abcabc'.find('b', 2)
'abcabc'.find('b', -2)
'abcabc'.find('a', 1, 3)
'abc'.find('')
'abc'.find('', 5)
'abc'.index('b')
'abc'.index('x')
'abcabc'.rindex('c')
'banana'.count('an')
'banana'.count('a', 2)
'abc'.count('')
emoji.count('')
'abc'.startswith('a')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.startswith('')
'abc'.startswith('', 4)
'abc'.startswith(1)
'abc'.startswith(['a'])
'abc'.endswith('c')
'abc'.endswith(('x', 'c'))
'abc'.endswith('b', 0, 2)
'-'.join(['a', 'b'])
'-'.join('abc')
'-'.join([])
'-'.join([1])
'-'.join(words)
'-'.join({'a': 1, 'b': 2})
'12'.isdigit()
'²'.isdigit()
'१'.isdigit()
''.isdigit()
'1.5'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
'½'.isdigit()
'abc'.isalpha()
'aé日'.isalpha()
'a1'.isalpha()
'a1'.isalnum()
'a_1'.isalnum()
' \t\n'.isspace()
'\u200b'.isspace()
''.isspace()
'abc'.islower()
'aBc'.islower()
'123'.islower()
'ABC1'.isupper()
'Ab Cd'.istitle()
'Ab cd'.istitle()
'abc'.isascii()
'é'.isascii()
'a1_'.isidentifier()
'1a'.isidentifier()
'ab c'.isprintable()
'a\n'.isprintable()
'ab'.center(7)
'abc'.center(6, '*')
'ab'.center(5, '-')
'ab'.ljust(5) ~ '|'
'ab'.rjust(5)
'ab'.rjust(5, '0')
'ab'.rjust(5, 'xy')
'-5'.zfill(4)
'5'.zfill(3)
'+5'.zfill(1)
'a\tb'.expandtabs()
'a\tb'.expandtabs(4)
'prefix-x'.removeprefix('prefix-')
'x.py'.removesuffix('.py')
'x'.removesuffix('')
'{} {}'.format('a', 1)
'{0} {1} {0}'.format('a', 'b')
'{name} {x}'.format(name='n', x=2)
'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')
'{:*^7}'.format('ab')
'{:05d} {:+d} {:,}'.format(42, 7, 1234567)
'{:.2f} {:8.3f} {:e} {:%}'.format(3.14159, 2.5, 1234.5, 0.25)
'{:x} {:X} {:b} {:o}'.format(255, 255, 5, 8)
'{:.3}'.format('abcdef')
'{!r} {!s}'.format('a', 'b')
'{0[a]} {1.x}'.format({'a': 1}, {'x': 2})
'{{}} {}'.format(1)
'{}'.format(none)
'{}'.format([1, 'a'])
'{} {}'.format(1)
'{'.format(1)
'{:d}'.format('a')
'{:,.2f}'.format(1234567.891)
'{:_}'.format(1234567)
'{:10}|'.format(5)
'{:<10}|'.format(5)
'{:g} {:g}'.format(1e-5, 123456789.0)
'{:010.2f}'.format(-3.14159)
'{}'.format(true)
'{:5}|'.format(true)
text.nope
text.nope is defined
text[0]
text[-1]
text[100]
emoji[1]
emoji[-2]
emoji[1:3]
emoji[::-1]
text[1:3]
text[:2]
text[-3:]
text[::2]
text[::-1]
text[5:2]
text[-100:100]
text[:-1]
text['a':]
numbers[0]
numbers[-1]
numbers[5]
numbers[5] is defined
numbers[1:]
numbers[::-1]
numbers[:-1]
numbers[::0]
numbers['x']
numbers.0
numbers[true]
numbers[1.0]
(1, 2, 3)[1:]
range(10)[2:5]
range(5)[-1]
range(5)
range(1, 10, 3)
range(5, 0, -1)|list
range(0)|list
range(3) == range(0, 3)
range(100000)|length
range(100001)|length
range('a')
range(1, 5, 0)
range(5).start
record.b
record['b']
record.a.x[1]
record['a']['x']
record.missing
record.missing.x
record['missing']
record.get('b')
record.get('zz')
record.get('zz', 'd')
record.get('zz', default='d')
record.items()
record.keys()
record.values()
record.items()|list
record.keys()|list
record.items
{'items': 5}.items
{'items': 5}['items']
{'get': 1}.get('get')
record.pop('b')
record.update({})
record.copy()
record.__class__
text.__class__
text._x
numbers.append(4)
numbers.append
numbers.pop()
numbers.index(2)
numbers.index(9)
numbers.count(1)
numbers.copy()
(1, 2, 1).count(1)
nothing.x
nothing['x']
nothing[0]
(5).x
(5)[0]
yes.x
missing.x
missing['x']
missing[0]
missing()
missing + 1
1 + missing
missing ~ 'a'
-missing
missing|length
missing|list
missing|upper
missing|trim
missing|string
missing|tojson
missing|int
missing|default('d')
missing|join(',')
missing|first
missing|last
missing|sum
missing|items|list
missing is defined
missing is undefined
missing is none
missing is string
missing is iterable
missing is sequence
missing is mapping
missing is callable
missing is number
tools is defined
documents is none
tools|length
none|length
5|length
text|length
emoji|length
emoji|count
numbers|length
record|length
range(7)|length
true|length
text|upper
text|lower
emoji|upper
'hello world-foo (bar) [baz] {qux} <x> it\'s'|title
'HELLO wORLD'|title
'a\u2003b\x1cc'|title
'hELLO'|capitalize
1|upper
none|lower
true|title
padded|trim
'xxaxx'|trim('x')
'[a]'|trim(chars='[]')
5|trim
'abc'|first
'abc'|last
emoji|first
numbers|first
[]|first
[]|last
[]|first is defined
record|first
record|last
numbers|last
range(3)|last
'abc'|reverse
emoji|reverse
numbers|reverse|list
numbers|reverse
record|reverse|list
5|reverse
'abc'|list
emoji|list
record|list
range(3)|list
none|list
5|list
words|join(', ')
words|join
[1, none, true, 1.5]|join('-')
people|join(', ', attribute='name')
people|join(', ', 'age')
people|map(attribute='city.name')|join(',')
'abc'|join('-')
record|join(',')
[missing]|join(',')
5|join
words|sort
words|sort(reverse=true)
words|sort(case_sensitive=true)
words|sort(true)
numbers|sort
[3, 1.5, true]|sort
[1, 'a']|sort
[none, 1]|sort
[[2, 1], [1, 3]]|sort
people|sort(attribute='age')|map(attribute='name')|join(',')
people|sort(attribute='age,name')|map(attribute='name')|list
people|sort(attribute='city.name', reverse=true)|map(attribute='name')|list
'bac'|sort
record|sort
record|dictsort
record|dictsort(true)
{'a': 2, 'b': 1}|dictsort(by='value')
{'a': 2, 'b': 1}|dictsort(false, 'value', true)
record|dictsort(by='x')
words|unique|list
['a', 'A', 'b']|unique(true)|list
[1, 1.0, true, 2]|unique|list
people|unique(attribute='age')|map(attribute='name')|list
numbers|max
numbers|min
words|max
words|min
words|max(case_sensitive=true)
people|max(attribute='age')
people|min(attribute='age')
[]|max
[1, 'a']|max
numbers|sum
[1, 2.5]|sum
[]|sum
people|sum(attribute='age')
numbers|sum(start=10)
['a']|sum
[[1], [2]]|sum(start=[])
people|map(attribute='name')|list
people|map(attribute='tags')|list
people|map(attribute='tags', default='none')|list
people|map(attribute='city.name')|list
people|map('length')|list
words|map('upper')|list
words|map('upper')|join(',')
['a,b', 'c']|map('replace', ',', ';')|list
[1.5, 2.25]|map('round', 1)|list
words|map('nope')|list
words|map|list
[[1, 2], [3]]|map('first')|list
[[1, 2], [3]]|map(attribute=0)|list
words|map('upper')|first
words|map('upper')|length
words|map('upper')
numbers|select
[0, 1, '', 'a', none]|select|list
numbers|select('odd')|list
numbers|select('greaterthan', 1)|list
numbers|select('>', 1)|list
numbers|select('divisibleby', 2)|list
words|select('equalto', 'a')|list
words|select('in', ['a', 'b'])|list
numbers|reject('odd')|list
[0, 1]|reject|list
people|selectattr('tags')|map(attribute='name')|list
people|selectattr('age', 'equalto', 30)|map(attribute='name')|list
people|selectattr('age', '==', 30)|list|length
people|selectattr('tags', 'defined')|map(attribute='name')|list
people|selectattr('city.name', 'eq', 'Oslo')|map(attribute='name')|join(',')
people|rejectattr('age', 'lt', 30)|map(attribute='name')|list
people|rejectattr('tags')|list|length
people|selectattr('age', 'nope')|list
messages|selectattr('role', 'equalto', 'user')|list
messages|selectattr('role', 'in', ['user', 'system'])|map(attribute='content')|list
none|select|list
people|groupby('age')
people|groupby('age')|map(attribute='grouper')|list
people|groupby('city.name')|map('first')|list
people|groupby('tags', default='z')|length
[1, 2, 3, 4, 5]|batch(2)|list
[1, 2, 3]|batch(2, 'x')|list
[1, 2, 3, 4, 5]|slice(3)|list
[1, 2, 3, 4, 5]|slice(3, 'x')|list
[1]|batch
record|items|list
none|items|list
text|default('d')
''|default('d')
''|default('d', true)
none|default('d')
none|default('d', boolean=true)
missing|d('x')
missing|default
0|default(5, true)
record.zz|default(record.b)
-5|abs
-5.5|abs
'a'|abs
true|abs
2.5|round
3.5|round
2.567|round(2)
2.675|round(2)
0.125|round(2)
42.55|round(1, 'floor')
42.51|round(0, 'ceil')
42.55|round(1, 'x')
5|round
5|round(2)
-2.5|round
1e20|round
1234.5|round(-2)
7|round(0, 'ceil')
'3'|int
'3.7'|int
' 42 '|int
'1e3'|int
'abc'|int
'abc'|int(7)
'abc'|int(default=7)
'0x1f'|int(0, 16)
'1f'|int(0, 16)
'101'|int(base=2)
'1_000'|int
3.99|int
-3.99|int
true|int
none|int
none|int(5)
[]|int
'inf'|int
''|int
'-0'|int
'99999999999999999999'|int
'3.5'|float
'abc'|float
'abc'|float(1.5)
'abc'|float('x')
3|float
'1e400'|float
'nan'|float
'-inf'|float
' 1_0.5 '|float
'.5'|float
'5.'|float
none|float
1|string
1.0|string
none|string
[1]|string
true|string
record|string
record|tojson
record|tojson(indent=2)
record|tojson(indent=0)
record|tojson(indent='--')
record|tojson(ensure_ascii=true)
record|tojson(sort_keys=true)
record|tojson(separators=(',', ':'))
record|tojson(separators=[',', ':'])
record|tojson(indent=4, separators=(', ', ' : '))
record|tojson(true)
[]|tojson(indent=2)
{}|tojson(indent=2)
[[], {}, [1]]|tojson(indent=1)
(1, 2)|tojson
'a"b\\c\n\t\r\x08\x0c\x01\x7f\u2028é😀</b>'|tojson
'é😀\x7f'|tojson(ensure_ascii=true)
none|tojson
true|tojson
1.0|tojson
1e16|tojson
1e-7|tojson
1.5e300|tojson
'nan'|float|tojson
12345678901234567890|tojson
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
range(3)|tojson
range(3)|list|tojson
record.items()|tojson
words|map('upper')|tojson
messages|tojson
text|replace('l', 'L')
text|replace('l', 'L', 1)
text|replace('l', 'L', count=2)
5|replace(5, 6)
'aXbX'|replace('X', 1)
'a\nb\n\nc'|indent
'a\nb\n\nc'|indent(2)
'a\nb\n\nc'|indent(2, true)
'a\nb\n\nc'|indent(2, true, true)
'a\nb'|indent('> ')
'a\nb'|indent(width=3, first=true)
'a\nb\n'|indent
''|indent
'a\r\nb'|indent(1)
5|indent
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(9, true)
'foo bar baz qux'|truncate(11)
'foo bar baz qux'|truncate(11, false, '...', 0)
'foo bar baz qux'|truncate(2)
'foo bar'|center(11)
'foo'|center
'a b_c é-d'|wordcount
'%s-%s'|format('a', 1)
'%(x)s'|format(x=2)
'a'|format
'<a href="x">&\'</a>'|escape
'<a>'|e
'<a>'|safe
'<a>'|e|e
'<a>'|safe|e
'<a>'|forceescape
'<b>'|safe ~ '<'
'<b>'|safe + '<'
'<' + '<b>'|safe
'<b>'|safe|length
'<b>'|safe|upper
'<b>'|safe == '<b>'
'<b>'|safe|replace('b', '<')
'<b>'|safe is string
'<b>'|e is escaped
'<b>'|safe|tojson
'<b>'|safe|string ~ '<'
['<b>'|safe]
'<b>'|safe|trim
'<b>'|safe in ['<b>']
{'<b>'|safe: 1}['<b>']
'ab'|attr('upper')
record|attr('b')
record|attr('items') is callable
text|nope
1 is odd
2 is odd
-1 is odd
2 is even
2.0 is even
'a' is odd
9 is divisibleby(3)
9 is divisibleby 3
10 is divisibleby 3 or true
1 is number
1.5 is number
true is number
'1' is number
1 is integer
true is integer
1.0 is integer
1.0 is float
1 is float
true is boolean
1 is boolean
true is true
1 is true
false is false
0 is false
none is none
missing is none
'a' is string
1 is string
[] is sequence
'a' is sequence
{} is sequence
5 is sequence
range(3) is sequence
(1,) is sequence
words|map('upper') is sequence
record.items() is sequence
[] is iterable
'a' is iterable
{} is iterable
5 is iterable
none is iterable
words|map('upper') is iterable
{} is mapping
[] is mapping
range is callable
'a'.upper is callable
5 is callable
'abc' is lower
'aBc' is lower
'ABC' is upper
'' is lower
5 is lower
1 is eq 1
1 is equalto 1.0
1 is ne 2
1 is lt 2
2 is le 2
3 is gt 2
3 is ge 4
1 is greaterthan 0
1 is lessthan 0
1 is in [1, 2]
1 is in([1, 2])
3 is not in [1, 2]
none is sameas none
true is sameas true
1 is sameas true
1 is nope
1 is not none
missing is not defined and 1
1 is defined if true else 2
[1, 2] is eq [1, 2]
1 is string is string
text is defined and text is string
not missing is defined
dict(a=1, b='x')
dict([('a', 1)])
dict({'a': 1}, b=2)
dict(1)
namespace(a=1)
namespace(a=1).a
namespace(a=1)['a']
namespace(a=1).b
namespace({'a': 1}).a
namespace(a=1) is mapping
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y')
strftime_now('%A %a %B %b %c')
strftime_now('%H:%M:%S.%f %I %p')
strftime_now('%j %y %C %e %k %l')
strftime_now('%U %W %V %G %u %w %g')
strftime_now('%D %F %T %R %r %x %X')
strftime_now('%-d/%-m/%-H/%-j')
strftime_now('%h %n %t %% %z|%Z|')
strftime_now('no directives')
strftime_now('%s') != ''
raise_exception('no')
raise_exception(missing)
range(3)|sum
cycler('a', 'b').next()
joiner(',')()
(1, 2)|first
((1, 2), 3)
[1, 2,]
{'a': 1,}
{'a': 1}['a']
{'a': {'b': {'c': 1}}}
{'a': {'b': 1}}.a.b
[1, 2, 3][1:][0]
text.upper().lower()[0].upper()
(text ~ '!').upper()
(1, 2) + (3,) == (1, 2, 3)
messages[0]['role']
messages[-1].content
messages[1:]|length
messages[::-1][0].role
messages[0].content.strip().split(' ')[0]
messages|length - 1
messages|map(attribute='role')|join(' > ')
(messages|last).content|trim
-5|abs
-(5|abs)
2 * 3|string
'a' ~ 'b'|upper
1 + 1|string
[1, 2]|length + 1
'x' if missing else 'y'
'x'*2 ~ 'y'
1 .real
10 .__class__
'a' 'b'.upper()
foo.bar.baz
[missing]
[missing, missing] == [missing, missing2]
{missing: 1}
{'a': 1}[missing]
{[1]: 2}
{'a': 1}[[1]]
'a' is eq('a')
5 == 5 == 5
1 != 2 != 1
'abc'[1:2] == 'b'
(1, 2, 3)|join
words[1:]|join(' ')|lower
'a;b'.split(';')|map('upper')|join
text|batch(5)|map('join')|list
'line1\nline2'.split('\n')|map('trim')|join('|')
[3, 1, 2]|sort|first
[[1, 'a'], [2, 'b']]|map('last')|join
'caf\u00e9'|length
'e\u0301'|length
'\t'|length
'日本'.center(6)
'😀'.center(4, '*')
'a😀'|truncate(1, true, '', 0)
'日本語'[1]
'abc' 'def'[0]
{'b': 1, 'a': 2}|list
{'b': 1}.items()|first
(record.items()|list)[0][1]
record.values()|list|first
'k' in {'k': none}
{'k': none}.k is none
{'k': none}.get('k', 'd')
{'k': 1}.k.x
5 in {5: 1}
1.0 in {1: 2}
{1: 'a', 1.0: 'b', true: 'c'}
'a' in {'a': 1}.keys()
1 in {'a': 1}.values()
('a', 1) in {'a': 1}.items()
{'a': 1}.keys()|length
{'a': 1}.items() is iterable
{'a': 1}|items
(1, 2) < (1, 3)
(1, 'a') < (1, 2)
[1, 2] > [1]
'a' <= 'a'
1 <= 1.0
2 >= 3
1.5 < 2
true < 2
10 // 3.0
2 ** 0.3
1e308 * 10
-1e308 * 10
5 // 0.0
0.1 * 3
1 - 0.9
3.0
3.10
1e3
1E3
1.e3
5.
.5
0.1e-6
1e100
12345678912345678
0.00001234
123456.789e3
(0.1).x
'%s' % 1e16
'%s' % (1,)
'%s' % ((1, 2),)
'%05.1f|%+.1e|%G' % (2.25, 12345.0, 1e-10)
'%3d%%' % 50
'%-10s|' % 'ab'
'%s %(a)s' % {'a': 1}
'%d' % true
'%s' % missing
'%s' % none
'{}'.format(missing)
'{:>3}'.format(missing)
'{:>6}'.format(2.5)
'{0:>{1}}'.format('a', 5)
'{a[0]}'.format(a=[7])
'{a.b}'.format(a={'b': 1})
'{:%Y}'.format(5)
loop
self
lipsum(1)
"a" is filter
'abc'.encode()
'abc'.translate({})
"x"|urlencode
"x y"|wordwrap(1)
"x"|pprint
"<b>x</b>"|striptags
1024|filesizeformat
{'a': 1}|xmlattr
[1]|random
'http://x.y'|urlize
range(3)|reverse|list
range(3)|map('string')|list
'a.b.c'.split('.', 1)|last
'A' < 'a'
'é' < 'z'
'' < 'a'
'' or 'x'
[] or {} or 'z'
[[]] and 'y'
0.0 or 'x'
range(0) or 'x'
{} and 1
none and 1
'0' and 1
'x' % [1]
'x' % {'a': 1}
'%s' % [1, 2]
'x' % range(3)
'{:^5}|{:^6}'.format('ab', 'abc')
'abc'.center(6)
(2)[:1]
none[1:]
record[:1]
text['a':]
{'a': 1}|truncate
'abc'|safe(1)
words|sort(none)
2|int(base='')
'<b>'|safe ~ '<' ~ 1
""".strip("\n").split("\n")

# Whole templates.
TEMPLATES = [
    "",
    "plain",
    "line\n",
    "line\n\n",
    "line\n\n\n",
    "\n",
    "a\r\nb\r\n",
    "a\rb\r",
    "a\r\n\r\nb",
    "{% if true %}\r\nx\r\n{% endif %}\r\ny",
    "{{ 'a\r\nb' }}",
    "{%- for m in messages -%}\r\n{{ '[' + m['role'] + ']' }}\r\n{{ m['content'] + eos_token }}\r\n{% endfor -%}\r\n",
    "{%- for m in messages -%}\n{{ '[' + m['role'] + ']' }}\n{{ m['content'] + eos_token }}\n{% endfor -%}\n",
    # White space control.
    "a {{- 1 }} b",
    "a {{ 1 -}} b",
    "a {{- 1 -}} b",
    "a\n  {{- 1 -}}\n  b",
    "a \n {%- if true -%} \n x \n {%- endif -%} \n b",
    "  {% if true %}\n  x\n  {% endif %}\n  y",
    "\t{% if true %}x{% endif %}\ny",
    "a {% if true %} b {% endif %} c",
    "  {%+ if true %}\n  x\n  {%+ endif %}\n",
    "{% if true +%}\n x\n{% endif +%}\n y",
    "  {{ 1 }}\n  {{ 2 }}\n",
    "{{ 1 }}\n{{ 2 }}\n",
    "{{ 1 }}\n\n{{ 2 }}",
    "{# c #}\nx",
    "  {# c #}\n  x",
    "a {#- c -#} b",
    "a {# c +#}\nb",
    "a\n  {#+ c #}b",
    "{# multi\nline {{ 1 }} {% if %} #}x",
    "{#-#}x",
    "a{#- x -#}\n\n  b",
    "{% set x = 1 %}\n\n{{ x }}",
    "{% set x = 1 -%}\n\n  {{ x }}",
    "  {%- set x = 1 %}\n  {{ x }}",
    "x\u00a0{%- if true -%}\u00a0y{% endif %}",
    "x\u3000{%- if true -%}\u3000y{% endif %}",
    "x\ufeff{%- if true -%}\ufeffy{% endif %}",
    "x\x1c{%- if true -%}\x85y{% endif %}",
    "\u3000{% if true %}y{% endif %}",
    "{% if true %}\n\n\nx{% endif %}",
    "{%if true%}x{%endif%}",
    "{%\n if\n true\n %}x{% endif %}",
    "{{\n1\n}}",
    "{{1}}{{2}}",
    "a{{ }}",
    "{{ 1",
    "{% if true %}x",
    "{% endif %}",
    "{% nope %}",
    "{{ 1 }} }} %} #}",
    "{ { 1 } } {% raw %}{{ x }}{% endraw %}",
    "{% raw %}{% if %}{{ }}{# #}{% endraw %}!",
    "{%- raw -%} {{ x }} {%- endraw -%} y",
    "a\n  {% raw %}\n x {% endraw %}\n y",
    "{% raw %}x",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': {}}}['a'] }}",
    "{{ (1, [2, {'x': '}}'}]) }}",
    "{{ [1) }}",
    "{{ 'unterminated }}",
    "{{ a ? b }}",
    "{{ 1 $ 2 }}",
    # Set and scopes.
    "{% set x = 1 %}{{ x }}",
    "{% set x, y = 1, 2 %}{{ x }}{{ y }}",
    "{% set (x, y) = (1, 2) %}{{ x }}{{ y }}",
    "{% set x, y = 'ab' %}{{ x }}{{ y }}",
    "{% set x, y = [1] %}",
    "{% set x, y = 1 %}",
    "{% set x = 1, 2 %}{{ x }}",
    "{% set x %}a{{ 1 }}b{% endset %}[{{ x }}]",
    "{% set x | upper %}ab{% endset %}{{ x }}",
    "{% set x | upper | replace('A', 'z') %}ab{% endset %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% if true %}{% set z = 2 %}{% endif %}{{ z }}",
    "{% if false %}{% set z = 2 %}{% endif %}[{{ z }}]",
    "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}",
    "{% for i in [1, 2] %}{{ y }}{% set y = i %}{{ y }}{% endfor %}[{{ y }}]",
    "{% for i in [1, 2] %}{% if y is defined %}y{% else %}n{% endif %}{% set y = i %}{% endfor %}",
    "{% set ns = namespace(x=0) %}{% for i in [1, 2, 3] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = ns.a %}{{ ns.b }}{{ ns.c is defined }}",
    "{% set ns = namespace(a=1) %}{{ ns }}",
    "{% set x = {} %}{% set x.a = 1 %}",
    "{% set ns = namespace() %}{% set ns.x %}body{% endset %}{{ ns.x }}",
    "{% set x = x | default('d') %}{{ x }}",
    "{% set text = 'new' %}{{ text }}",
    "{% set messages = messages[1:] %}{{ messages | length }}",
    "{% for i in [1] %}{% set text = 'in' %}{{ text }}{% endfor %}{{ text }}",
    "{{ text }}{% set text = 'later' %}{{ text }}",
    "{% for x in [1] %}[{{ text }}]{% endfor %}{% set text = 1 %}{{ text }}",
    "{% macro m() %}[{{ text }}]{% endmacro %}{{ m() }}{% set text = 1 %}{{ m() }}",
    "{% for x in [1] %}[{{ text }}]{% endfor %}{% if yes %}{% set text = 1 %}{% endif %}",
    "{% for x in [1] %}[{{ text }}]{% endfor %}{% if yes %}{% set text = 1 %}{% else %}{% set text = 2 %}{% endif %}",
    "{% for x in [1] %}[{{ text }}]{% endfor %}{% if yes %}{% set text = 1 %}{% elif no %}{% set text = 3 %}{% else %}{% set text = 2 %}{% endif %}",
    "{% for x in [1, 2] %}{% generation %}[{{ text }}]{% endgeneration %}{% set text = x %}{% generation %}[{{ text }}]{% endgeneration %}{% endfor %}",
    "{% for x in [1, 2] %}{% for y in [1] %}[{{ text }}]{% endfor %}{% set text = x %}{% endfor %}[{{ text }}]",
    "{{ text }}{% for x in [1, 2] %}{% for y in [1] %}[{{ text }}]{% endfor %}{% set text = x %}{% endfor %}[{{ text }}]",
    "{% for x in [1] %}{% set text %}a{{ text }}{% endset %}[{{ text }}]{% endfor %}",
    "{% if text %}{% endif %}{% for x in [1] %}[{{ text }}]{% endfor %}{% set text = 1 %}",
    "{% for x in [1] %}[{{ range(2) }}]{% endfor %}{% set range = 1 %}",
    "{% set in = 'a' %}{{ in }}",
    "{% set if = 'a' %}{{ if }}",
    "x{#",
    "x{% raw %}",
    "x{%",
    "x{{",
    "{% set true = 1 %}",
    "{% set 1 = 1 %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}[{{ a }}]",
    "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}[{{ q }}]",
    # If.
    "{% if text %}a{% elif x %}b{% else %}c{% endif %}",
    "{% if empty %}a{% elif numbers %}b{% else %}c{% endif %}",
    "{% if nothing %}a{% elif missing %}b{% else %}c{% endif %}",
    "{% if not tools %}none{% endif %}{% if tools is defined %}defined{% endif %}",
    "{% if messages[0]['role'] == 'system' %}{{ messages[0].content }}{% endif %}",
    "{% if messages and messages[0].role == 'system' and messages[0].content != '' %}s{% endif %}",
    "{% if empty != false %}truthy{% else %}falsy{% endif %}",
    "{% if 'a' in 'abc' and not 'z' in 'abc' %}y{% endif %}",
    "{% if 1 if false else 0 %}y{% else %}n{% endif %}",
    "{% if true: %}x{% endif %}",
    "{% if (1 if false else 0) %}y{% else %}n{% endif %}",
    # For.
    "{% for x in numbers %}{{ x }},{% endfor %}",
    "{% for x in [] %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in missing %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in none %}{% endfor %}",
    "{% for x in 5 %}{% endfor %}",
    "{% for c in emoji %}{{ c }}.{% endfor %}",
    "{% for k in record %}{{ k }}{% endfor %}",
    "{% for k, v in record.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in record | items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in record | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "{% for x in range(3) %}{{ x }}{% endfor %}",
    "{% for x in numbers if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for x in numbers if x > 5 %}{% else %}e{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ m.role }}{% endfor %}",
    "{% for x in (numbers if yes else words) %}{{ x }}{% endfor %}",
    "{% for x in numbers recursive %}{{ x }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.n }}@{{ loop.depth }}{{ loop.depth0 }}({{ loop(x.kids) }}){% endfor %}",
    "{% for x in tree %}{{ loop(x.kids) }}{% endfor %}",
    "{% for x in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for x in words %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}",
    "{% for x in words %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}",
    "{% for x in words %}{{ loop.cycle('odd', 'even') }} {% endfor %}",
    "{% for x in words %}{{ loop.cycle() }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in words %}{{ loop }}{% endfor %}",
    "{% for x in words | map('upper') %}{{ x }}{{ loop.length }}{{ loop.last }}{% endfor %}",
    "{% for x in words %}{{ x }}{{ ', ' if not loop.last }}{% endfor %}",
    "{% for x in words %}{% for y in numbers %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for x in words %}{% set outer = loop %}{% for y in numbers %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for x in words %}{{ loop.nope }}{{ loop['index'] }}{% endfor %}",
    "{% for x in words %}{% if loop.index == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in words %}{% if loop.index == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in words %}a{% break %}b{% endfor %}c",
    "{% for x in [1] %}{% continue %}{% else %}else{% endfor %}",
    "{% for x in [1] %}{% break %}{% else %}else{% endfor %}",
    "{% for x in [1, 2] %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% else %}else{% endfor %}",
    "{% for x in [1, 2] %}{% for y in [1, 2] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }}{% endfor %}{% endfor %}",
    "{% break %}",
    "{% continue %}",
    "{% for x in [1] %}{% set y %}a{% break %}b{% endset %}{% endfor %}[{{ y }}]",
    "{% for x in numbers %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(stop=false) %}{% for x in numbers if not ns.stop %}{{ x }}{% set ns.stop = true %}{% endfor %}",
    "{% for x in numbers %}{% set ns = 1 %}{% endfor %}[{{ ns }}]",
    "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}",
    "{% for m in messages %}\n{{ m.role }}\n{% endfor %}",
    "{% for m in messages -%}\n{{ m.role }}\n{%- endfor %}",
    "{% for m in messages | reverse %}{{ m.role }} {% endfor %}",
    "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }} {% endfor %}",
    "{% for x in [[1, 2], [3]] %}{% for y in x %}{{ y }}{% endfor %};{% endfor %}",
    "{% for group in people | groupby('age') %}{{ group.grouper }}:{{ group.list | map(attribute='name') | join(',') }};{% endfor %}",
    "{% for age, list in people | groupby('age') %}{{ age }}{{ list | length }};{% endfor %}",
    "{% for row in [1, 2, 3, 4, 5] | batch(2, 0) %}{{ row | join('-') }};{% endfor %}",
    # Generators are walked over once.
    "{% set g = words | map('upper') %}{{ g | list }}{{ g | list }}",
    "{% set g = words | select('lower') %}{% for x in g %}{{ x }}{% break %}{% endfor %}{{ g | list }}",
    "{% set g = numbers | reverse %}{{ g | list }}{{ g | list }}",
    "{% set g = record.items() %}{{ g | list | length }}{{ g | list | length }}",
    "{% set g = words | map('upper') %}{% if g %}yes{% endif %}",
    # Macros.
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(a=5, b=6) }} {{ m(b=1, a=0) }}",
    "{% macro m(a) %}[{{ a }}]{{ a is defined }}{% endmacro %}{{ m() }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(a, b=a ~ '!') %}{{ b }}{% endmacro %}{{ m('x') }}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(x=2) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2, 3) }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}body{% endcall %}",
    "{% macro m(x) %}{{ caller(x, 2) }}{% endmacro %}{% call(a, b) m(1) %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}{{ caller('x') }}{% endmacro %}{% call(a, b='d') m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}no caller{% endmacro %}{% call m() %}body{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}",
    "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m() %}{{ text }}{% endmacro %}{{ m() }}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}",
    "{% macro m() %}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}[{{ x }}]",
    "{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m() %}\n  a\n{% endmacro %}\n[{{ m() }}]",
    "{% macro m() -%}\n  a\n{%- endmacro %}\n[{{ m() }}]",
    "{% macro m() %}x{% endmacro %}{{ m }}{{ m.name }}",
    "{% macro m() %}x{% endmacro %}{{ m() | upper }}{{ m() ~ 'y' }}{{ m() | length }}",
    "{% macro m(a) %}{{ a | tojson }}{% endmacro %}{{ m({'a': [1, none]}) }}",
    "{% macro m(*a) %}{% endmacro %}",
    "{% macro a() %}A{% endmacro %}{% macro b() %}B{{ a() }}{% endmacro %}{{ b() }}",
    "{% macro b() %}B{{ a() }}{% endmacro %}{% macro a() %}A{% endmacro %}{{ b() }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ ['a', 'b'] | map('upper') | map('lower') | join }}{{ m(x='q') }}",
    "{% macro m(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2, 3]) }}{{ m(**{'a': 1, 'b': 2, 'c': 3}) }}{{ m(1, *[2], c=3) }}",
    "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% macro m() %}{{ loop is defined }}{% endmacro %}{% for x in [1] %}{{ m() }}{% endfor %}",
    # Blocks that catch text.
    "{% filter upper %}abc{{ text }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aaa{% endfilter %}",
    "{% filter indent(2) %}a\nb{% endfilter %}",
    "{% filter nope %}{% endfilter %}",
    "{% filter upper %}{% set q = 1 %}{% endfilter %}[{{ q }}]",
    "{% print 1, 'a' %}",
    "{% generation %}x{% endgeneration %}",
    "a {% generation %}\n x\n{% endgeneration %}\n b",
    "a {%- generation -%} x {%- endgeneration -%} b",
    "{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}[{{ q }}]",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ loop.index }}{% endgeneration %}{% endif %}{% endfor %}",
    # Refused or failing tags.
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% block a %}x{% endblock %}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{% do 1 %}",
    "{% trans %}x{% endtrans %}",
    # Helpers with a state.
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.reset() }}{{ c.next() }}",
    "{% set j = joiner(', ') %}{% for x in words %}{{ j() }}{{ x }}{% endfor %}",
    # Shapes of published templates.
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 1) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not(message.content.startswith('<t>') and message.content.endswith('</t>')) %}{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}{{ ns.last_query_index }}",
    "{%- for message in messages %}{%- set content = message.content %}{%- set reasoning_content = '' %}{%- if message.reasoning_content is string %}{%- set reasoning_content = message.reasoning_content %}{%- elif '</think>' in content %}{%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}",
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}{{- 'Today Date: ' + date_string + '\\n\\n' }}",
    "{%- if not tools is defined %}{%- set tools = none %}{%- endif %}{%- if tools is not none %}{{ tools }}{% else %}no tools{% endif %}",
    "{% for message in messages %}{{'<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "{% set content = messages[2].content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}[{{ content }}]",
]


def cases():
    for expression in EXPRESSIONS:
        yield "[{{ " + expression + " }}]"
    yield from TEMPLATES


def render(template):
    try:
        output = chat_template_utils._compile_jinja_template(template).render(**VARIABLES)
        return {"error": "prints an address"} if " at 0x" in output else {"output": output}
    except Exception as error:
        return {"error": type(error).__name__}


json.dump({"variables": VARIABLES, "cases": [{"template": case, **render(case)} for case in cases()]}, sys.stdout, indent=1)
print()
