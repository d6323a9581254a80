#!/usr/bin/env python3
"""Writes jinja.json: what Jinja2, set up as transformers sets it up for chat templates, makes of expressions and templates.

    pip install transformers==5.23.0 jinja2==3.1.6   (no torch needed)
    python make_jinja.py

Each case is a template with what it renders, or `null` where Jinja2 raises an error. All see the same conversation.
"""
import json
import pathlib
import re

from jinja2.filters import FILTERS
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent

MESSAGES = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": " Hi <b>\u00e9\u4f60\U0001f600</b>\n'you' & \"me\" "},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."},
]
VALUES = {"messages": MESSAGES, "bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None,
          "add_generation_prompt": True}

# Rendered as `{{ expression }}`.
EXPRESSIONS = r"""
1.0 | 1e16 | 1e15 | 123456789012345678.0 | 1.5e-5 | 0.0001 | -0.0 | 1e300 | 0.1 + 0.2 | 100000.0 * 10 | 2.5e-8
7 / 2 | 6 / 2 | 7 // 2 | -7 // 2 | 7 // -2 | -7 % 3 | 7 % -3 | 7.5 // 2 | -7.5 % 2 | 2 ** 10 | 2 ** -1 | 2 ** 3 ** 2 | -2 ** 2
10 ** 20 | 10 ** 50 | 1 / 0 | 1 % 0 | 1 // 0 | 1.0 / 0 | true + true | true * 3 | -true | +5 | - 5 | --5 | 5 - -5
none | true | false | True | None | [] | {} | () | (1,) | (1, 2) | [1, 2.0, 'a', none, true] | {'a': 1, 'b': [1, {'c': none}]} | 1, 2
'it''s' | "it's" | ["it's", 'say "x"', "both ' and \""] | ['\n\t\\'] | ['\x07\x1b\x7f'] | ['\u00e9\u200b\u4f60\ud83d'] | ['é你😀\u200b\xa0'] | 'a\qb' | '\101\x41\u0041' | 'a' 'b'
'abc'[0] | 'abc'[-1] | 'abc'[5] | 'abc'[1:] | 'abc'[::-1] | 'abcdef'[1:5:2] | 'abcdef'[-3:-1] | 'abcdef'[10:] | 'abc'[::0] | 'é你😀x'[1:3] | [1,2,3][::-1] | [1,2,3][-2:] | (1,2,3)[:2] | [1,2][5] | [1,2]['a'] | none[0] | none[0:1] | missing[0:1] | 'abcdef'[5:1:-2] | [1,2,3][1.5] | [1,2,3][true] | {'a':1}['a'] | {'a':1}['b'] | {1:2}[1.0] | {'a':1}[0:1]
'a' + 'b' | 'a' + 1 | 1 + 'a' | [1] + [2] | (1,) + (2,) | [1] + (2,) | 'ab' * 3 | 3 * 'ab' | 'ab' * -1 | [0] * 3 | 'a' * 2.0 | 'a' ~ 1 ~ none ~ 2.0 ~ [1] | missing ~ 'x' | 'a' - 'b' | {} + {} | none + 1
1 == 1.0 | 1 == true | 'a' == 'a' | '1' == 1 | none == false | [1, 2] == [1, 2.0] | (1, 2) == [1, 2] | {'a': 1, 'b': 2} == {'b': 2, 'a': 1} | missing == other | missing == none | 1 < 2 < 3 | 1 < 3 < 2 | 'a' < 'b' | 'a' < 1 | [1, 2] < [1, 3] | none < 1 | missing < 1 | 'B' < 'a' | 'é' > 'z' | 2 > 1.5 | 9007199254740993 == 9007199254740992.0 | 1 != 1 | [1] < [1, 0]
'b' in 'abc' | 1 in [1, 2] | 'a' in {'a': 1} | 1 not in [1] | '' in 'a' | 1 in 'a' | none in [none] | 'a' in missing | missing in 'a' | 'a' in none | [1] in {} | 1.0 in [1] | 'x' in ('x', 'y') | 2 in range(3) | not 1 in [2]
1 and 2 | 0 and 2 | '' or 'x' | none or missing or 0 | not '' | not missing | 1 if true | 1 if false | (1 if false) is defined | 1 if 0 else 2 if 0 else 3 | true and not false
none is iterable | 'abc' is sequence | 'abc' is iterable | 1 is iterable | {} is iterable | {} is sequence | {}.items() is sequence | {}.items() is iterable | missing is iterable | missing is sequence | missing is callable | range(3) is sequence | range is callable | 'a'.upper is callable | messages is callable | dict is callable | namespace is callable | raise_exception is callable | namespace() is iterable | (messages | map('upper')) is iterable | joiner() is callable | cycler(1) is callable
1 is number | true is number | true is integer | 1.0 is integer | 1.0 is float | 1 is float | 'a' is string | ('a' | e) is string | {} is mapping | namespace() is mapping | none is none | missing is none | missing is defined | missing.x is defined | messages[9].x is defined | messages is defined | none is defined | 1 is boolean | true is boolean | true is true | 1 is true | 0 is false | false is false | 'a' is lower | 'A1' is upper | '1' is lower | 3 is odd | 4 is even | 3 is even | 2.0 is even | 9 is divisibleby 3 | 9 is divisibleby(2) | 9 is not divisibleby 2 | 'a' is eq 'a' | 1 is lt 2 | 1 is ge(2) | 1 is in [1, 2] | 1 is sameas 1 | none is sameas none | true is sameas true | 1 is sameas true | 'a' is sameas 1 | 'upper' is filter | 'nope' is filter | 'odd' is test | 'x' is escaped | ('x' | e) is escaped | missing is escaped | 1 is nope | 'a' is odd | missing is odd | 1 is string is string
'%s' % 'a' | '%s and %s' % ('a', 1) | '%d' % 3.7 | '%d' % '3' | '%5.2f|' % 3.14159 | '%-5s|' % 'ab' | '%05d' % 42 | '%+d' % 5 | '%x %X %o' % (255, 255, 8) | '%#x' % 255 | '%e' % 12345.678 | '%g' % 0.00001234 | '%g' % 123456789 | '%.3g' % 1234.5 | '%r' % 'a' | '%%' % () | '%s%%' % 5 | '%(a)s' % {'a': 1} | '%(a)s' % {'b': 1} | '%s' % (1, 2) | '%s %s' % 1 | '%s' % [1, 2] | '%s' % none | '%s' % missing | '%c' % 'x' | '%c' % 65 | '%.2s|' % 'abc' | '%10s|' % 'é' | 'x' % () | 'x' % 1 | 'x' % [1] | 'x' % {} | '%.3d' % 5 | '% d' % 5 | '%f' % 1 | '%.0f' % 2.5 | '%.0f' % 0.5 | '%s' % true | '%d' % true | '%5%|' % () | '%i' % 3 | '%q' % 1 | '%' % 1
'{} {}'.format('a', 1) | '{0}{1}{0}'.format('a', 'b') | '{x}'.format(x=1) | '{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c') | '{:05d}'.format(42) | '{:.2f}'.format(3.14159) | '{:,}'.format(1234567) | '{:_d}'.format(1234567) | '{:x}'.format(255) | '{:#x}'.format(255) | '{:%}'.format(0.25) | '{:.1%}'.format(0.256) | '{:+}'.format(5) | '{:e}'.format(1234.5) | '{{}}'.format() | '{!r}'.format('a') | '{!s:>4}'.format(1) | '{}'.format(none) | '{:5}'.format(none) | '{'.format(1) | '}'.format(1) | '{}'.format() | '{x}'.format() | '{:*^7}'.format('ab') | '{:,.2f}'.format(12345.678) | '{:d}'.format('a') | '{:s}'.format(1) | '{}{0}'.format(1) | '{:.2}'.format('abc') | '{:5}|'.format(3) | '{:5}|'.format('a') | '{:06.2f}'.format(-3.14159) | '{}'.format(1.0) | '{}'.format([1, 'a']) | '{:g}'.format(1e10)
'a b  c'.split() | ' a b '.split(' ') | 'a,b,c'.split(',', 1) | 'a,b,c'.rsplit(',', 1) | 'a b c'.rsplit(none, 1) | ' a b c '.split(none, 1) | 'a,b'.split(sep=',') | 'a,b,c'.split(',', maxsplit=1) | ''.split() | ''.split(',') | 'a'.split('') | 'a,b,c'.rsplit(',') | 'a-b-c'.partition('-') | 'a-b-c'.rpartition('-') | 'abc'.partition('-') | 'abc'.rpartition('-') | 'abc'.removeprefix('a') | 'abc'.removesuffix('c') | 'abc'.removeprefix('x') | '5'.zfill(3) | '-5'.zfill(4) | '+5'.zfill(4) | 'abc'.zfill(2) | 'a\nb\r\nc'.splitlines() | 'a\nb\n'.splitlines(true) | 'a\u2028b'.splitlines()
' a '.strip() | 'xxaxx'.strip('x') | 'abcab'.lstrip('ab') | 'abcab'.rstrip('ab') | ' a '.lstrip() | ' a '.rstrip() | '\x1c a \xa0'.strip() | 'a'.strip(none) | 'abc'.startswith('a') | 'abc'.startswith(('x', 'a')) | 'abc'.startswith('b', 1) | 'abc'.endswith('c') | 'abc'.endswith('b', 0, 2) | 'abc'.startswith(['a']) | 'abc'.find('c') | 'abc'.find('x') | 'abcabc'.rfind('b') | 'é你x'.find('x') | 'abc'.index('x') | 'abc'.index('b') | 'aaa'.count('a') | 'aaaa'.count('aa') | 'abc'.count('') | 'abc'.replace('b', 'x') | 'aaa'.replace('a', 'b', 2) | 'ab'.replace('', '-') | 'abc'.replace('b', 1)
'aBc'.upper() | 'ABC'.lower() | 'ß'.upper() | 'ΑΣ'.lower() | 'hello WORLD'.capitalize() | 'éa B'.capitalize() | 'hello wORLD it''s'.title() | "it's a".title() | 'aBc'.swapcase() | 'abc'.center(8, '*') | 'abc'.center(6) | 'ab'.center(5) | 'abc'.ljust(5) | 'abc'.rjust(5, '.') | 'abc'.rjust(5, '..') | ','.join(['a', 'b']) | ','.join([1]) | ','.join('abc') | '12'.isdigit() | ''.isdigit() | 'a1'.isalnum() | 'ab'.isalpha() | ' '.isspace() | 'aé'.islower() | 'AB'.isupper() | 'a'.isascii() | 'é'.isascii() | 'abc'.nope | 'abc'.nope() | 'abc'.upper('x') | 'a'.__class__ | ''.capitalize()
{'a': 1}.get('a') | {'a': 1}.get('b') | {'a': 1}.get('b', 2) | {'a': 1}.items() | {'a': 1}.keys() | {'a': 1}.values() | {'a': 1}.items() | list | {'items': 1}['items'] | {'a': 1} | items | list | {'a': 1}.a | {'a': 1}.b | {'a': 1}.copy() | {'a': 1, 'a': 2} | {'a': 1}.update({'b': 2}) | [1].append(2) | [1, 2, 1].count(1) | [1, 2].index(2) | [1].index(2) | (1, 2).index(2) | {[1]: 2} | {'a': 1}.pop('a') | {(1, 2): 3} | {none: 1} | {'b': 1, 'a': 2} | dictsort | {'b': 1, 'a': 2} | dictsort(by='value') | {'b': 1, 'A': 2} | dictsort(true) | {'b': 1, 'a': 2} | dictsort(reverse=true)
'42' | int | '42.7' | int | ' 42 ' | int | 'x' | int | 'x' | int(7) | 'x' | int(default=-1) | '0x1A' | int(base=16) | '1A' | int(0, 16) | '101' | int(base=2) | 3.9 | int | -3.9 | int | true | int | none | int | [] | int | missing | int | '1_000' | int | '_1' | int | '1e3' | int | 'inf' | int | 'nan' | int | '' | int | '+5' | int | '- 5' | int | '3.5' | float | 'x' | float | 'x' | float(1.5) | 3 | float | none | float | 'inf' | float | 'nan' | float | '1_0.5' | float | '.5' | float | '5.' | float
3.7 | round | 2.5 | round | 3.5 | round | 2.675 | round(2) | 5 | round | 5 | round(1) | 3.14159 | round(2) | 3.1 | round(method='ceil') | 3.9 | round(0, 'floor') | 3.14159 | round(2, 'ceil') | 5 | round(method='ceil') | 'a' | round | true | round | -2.5 | round | 1e20 | round | 3.7 | round | int | -5 | abs | -5.5 | abs | true | abs | 'a' | abs
'abc' | length | [1, 2] | length | {} | length | none | length | missing | length | range(5) | length | (messages | map('length')) | length | 5 | length | 'é你😀' | length | 'abc' | count
'a b c' | upper | 1 | upper | none | lower | [1, 'A'] | lower | 'hello world' | title | 'hello-world (foo) bar_baz' | title | 'HELLO' | capitalize | ' x ' | trim | 'xxaxx' | trim('x') | 'abc' | replace('b', 'x') | 'abc' | replace('b', 1) | 111 | replace(1, 2) | 'aaa' | replace('a', 'b', 2) | 'aaa' | replace('a', 'b', count=1) | 'abc' | center(9) | 'abc' | reverse | [1, 2] | reverse | list | 'a' | string | 1 | string | none | string | [1, 'a'] | string | missing | string
'foo bar baz qux' | truncate(9) | 'foo bar baz qux' | truncate(9, true) | 'foo bar baz qux' | truncate(11) | 'foo bar baz qux' | truncate(11, false, '...', 0) | 'foo bar baz qux' | truncate(9, end='!', leeway=0) | 'foobarbazqux' | truncate(5, leeway=0) | 'foo' | truncate(2) | 'foobarbazqux quux' | truncate(3, true, '', 0) | 'é你😀 xyz abc' | truncate(6, true, '', 0)
'a\nb\n\nc' | indent | 'a\nb\n\nc' | indent(2, true) | 'a\nb\n\nc' | indent(2, blank=true) | 'a\nb' | indent('> ') | 'a\nb\n' | indent | '' | indent(2, true) | 1 | indent | 'a\r\nb' | indent(1)
[1, 2] | join | [1, 2] | join(', ') | 'abc' | join('-') | messages | join(', ', attribute='role') | [none, true, 1.5] | join('|') | missing | join | none | join | [[1], {}] | join(' ') | {'a': 1, 'b': 2} | join(',')
[3, 1, 2] | sort | [3, 1, 2] | sort(reverse=true) | ['b', 'A', 'c'] | sort | ['b', 'A', 'c'] | sort(case_sensitive=true) | [1, 'a'] | sort | messages | sort(attribute='role') | map(attribute='role') | list | messages | sort(attribute='role,content', reverse=true) | map(attribute='role') | list | [(2, 'a'), (1, 'b')] | sort | [(2, 'a'), (1, 'b')] | sort(attribute=1, reverse=true) | [] | sort | 'cab' | sort | [1, 1.0, true] | unique | list | ['a', 'A', 'b'] | unique | list | ['a', 'A'] | unique(true) | list | [[1]] | unique | list
[1, 2, 3] | first | [] | first | 'abc' | first | [1, 2, 3] | last | [] | last | {'a': 1} | first | {'a': 1} | last | missing | first | missing | last | missing | reverse | list | not (missing | reverse) | [1, 2] | map('string') | first | [3, 1] | min | [3, 1] | max | [] | max | ['b', 'A'] | min | ['b', 'A'] | min(case_sensitive=true) | messages | max(attribute='role') | [1, 2] | sum | [] | sum | [1, 2] | sum(start=10) | [{'a': 1}, {'a': 2}] | sum(attribute='a') | ['a'] | sum | [[1], [2]] | sum(start=[])
[1, 2, 3] | map('string') | list | ['a', 'b'] | map('upper') | join | messages | map(attribute='role') | list | messages | map(attribute='nope') | list | messages | map(attribute='nope', default='x') | list | [[1, 2], [3, 4]] | map(attribute=1) | list | [{'a': {'b': 1}}] | map(attribute='a.b') | list | ['1', 'x'] | map('int', 9) | list | [1] | map | list | [1] | map('nope') | list | missing | map('upper') | list | ['a'] | map('replace', 'a', 'b') | list | [' a '] | map('trim') | list | [1] | map(attribute='a', nope=1) | list
[0, 1, 2] | select | list | [0, 1, 2] | reject | list | [1, 2, 3] | select('odd') | list | [1, 2, 3] | reject('odd') | list | [1, 2, 3] | select('gt', 1) | list | [1, 2, 3] | select('in', [1, 3]) | list | messages | selectattr('role', 'equalto', 'user') | list | length | messages | selectattr('role', '==', 'user') | map(attribute='role') | list | messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | list | messages | selectattr('nope') | list | messages | selectattr('nope', 'defined') | list | messages | selectattr('role') | list | length | messages | selectattr('role', 'in', ['user', 'system']) | map(attribute='role') | join(' ') | [1] | select('nope') | list
[1, 2, 3, 4, 5] | batch(2) | list | [1, 2, 3] | batch(2, 0) | list | [1, 2, 3, 4, 5] | slice(2) | list | [1, 2, 3, 4, 5] | slice(3, 'x') | list | 'abc' | list | {'a': 1} | list | range(3) | list | none | list | 5 | list | range(3) | range(1, 5) | range(5, 0, -2) | list | range(0) | list | range(1, 2, 0) | range(200000) | range('a') | range(10)[2] | range(10)[-1] | range(0, 10, 3) | length
missing | default('x') | none | default('x') | '' | default('x', true) | 0 | d(5, boolean=true) | missing | default | false | default(1) | messages[0].nope | default('y') | missing.x | default('y') | none | d('x', true)
'<a>' | e | '<a>' | escape | '<a>' | safe | ("it's" | e) | ('a' | e) ~ '<' | 1 | e | none | e | missing | e | ('<' | e) | e | ('<' | safe) | e | '<' | forceescape | ('<' | e) | forceescape | ['<'] | e | ('<' | e) | string | ('<' | e) | length | ('<' | e) == '&lt;' | [('<' | e)] | ('a' | e) | tojson | ('<b>' | e) | replace('l', 'L')
messages | tojson | messages[1] | tojson(indent=2) | {'b': 1, 'a': [1, {}, [], none, true, 1.5]} | tojson | {'b': 1, 'a': 2} | tojson(sort_keys=true) | {'b': 1, 'a': [1, 2]} | tojson(separators=(',', ':')) | 'é你😀\x7f' | tojson | 'é你😀\x7f' | tojson(ensure_ascii=true) | "<>&'" | tojson | '\x00\x1f\b\f\n\r\t"\\/' | tojson | {1: 2, none: 3, true: 4, 1.5: 5} | tojson | {'a': {'b': [1, {}]}} | tojson(indent=4) | {'a': [1]} | tojson(indent=0) | {'a': [1, 2]} | tojson(indent='\t') | [1, 2] | tojson(indent=2, separators=(',', ': ')) | 1e16 | tojson | 1e22 | tojson | 'inf' | float | tojson | missing | tojson | range(3) | tojson | (1, 2) | tojson | {(1, 2): 3} | tojson | {'a': 1, 2: 3} | tojson(sort_keys=true) | [] | tojson(indent=2) | {} | tojson(indent=2) | [1] | tojson(2) | namespace() | tojson | tojson | 0.1 | tojson | -0.0 | tojson | messages | tojson(ensure_ascii=false)
dict(a=1, b=2) | dict([('a', 1)]) | dict({'a': 1}, b=2) | dict() | dict(1) | dict([(1, 2, 3)]) | namespace(a=1).a | namespace({'a': 2}).a | namespace(a=1)['a'] | namespace().b is defined | namespace(_a=1) | raise_exception('no') | cycler() | messages | attr('x') is defined | {'a': 1} | attr('a') is defined | {'a': 1} | attr('keys') is defined | 'a' | attr('upper') is callable
messages[0]['role'] | messages[0].role | messages[-1].content.split('</think>')[-1].strip() | messages[0].items() | list | messages[0].get('name', 'nobody') | messages | length - 1 | (messages | length) - 1 | messages[::-1][0].role | messages[1:] | length | messages[0].role == 'system' and messages[0].content | messages.0.role | messages[0]['role'][0] | messages | groupby('role') | first | messages is sequence and messages is not string and messages is not mapping
'a' | format | '%s-%s' | format('a', 1) | '%(x)s' | format(x=1) | '%s' | format(1, x=2) | 'a b a_b c-d' | wordcount | 'a' | nope | tools is none | tools is not none and tools | tools | length | documents or 'none' | not documents | bos_token + 'x' | bos_token ~ eos_token | missing | missing.x | missing.x.y | missing() | missing + 1 | -missing | messages.nope | messages.nope.x | messages[0].nope | 5() | 'a'() | 1.real | 'abc' is sequence and 'abc' | x is defined and x | [x is defined for x in y] | 1 +
"""

TEMPLATES = {
    "trim and lstrip": "a\n  {% if true %}\n    b\n  {% endif %}\nc\n{# comment #}\n  {# two #}\nd {{ 1 }}\n  {{ 2 }}\n",
    "signs": "a  {%- if true -%}  b  {%- endif -%}  c\n  {%+ if true +%}\n d {%+ endif %}\n {{- 1 -}}  e {{ 2 }}\n\n{#- x -#}\n f",
    "raw": "{% raw %}{{ x }}{% if %}{% endraw %} a\n  {%- raw -%}\n  {{ y }} \n{%- endraw +%}\nb\n  {% raw %}\nz\n  {% endraw %}\nq",
    "newlines": "a\r\nb\r{% if true %}\r\nc{% endif %}\r\n\r\n",
    "loop": "{% for x in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('x', 'y') }}{{ loop.changed(x == 'a') }};{% endfor %}",
    "loop edges": "{% for x in [] %}{{ x }}{% else %}none{% endfor %}{% for x in missing %}x{% else %}undefined{% endfor %}{% for a, b in {'x': 1}.items() %}{{ a }}{{ b }}{% endfor %}{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "loop over none": "{% for x in none %}{% endfor %}",
    "loop over int": "{% for x in 3 %}{% endfor %}",
    "unpack": "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "loop filter": "{% for x in range(10) if x is odd %}{{ loop.index }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "loop filter length": "{% for x in range(10) if x > 6 %}{{ loop.index }}/{{ loop.length }}/{{ loop.revindex }} {% endfor %}",
    "loop filter reads what the body sets": "{% set ns = namespace(n=2) %}{% for x in range(6) if x < ns.n %}{{ x }}{% set ns.n = ns.n + 1 %}{% endfor %}",
    "loop filter that ends": "{% set ns = namespace(go=true) %}{% for x in range(6) if ns.go %}{{ x }}{{ loop.last }}{% if x == 2 %}{% set ns.go = false %}{% endif %}{% endfor %}",
    "loop filter with else": "{% for x in range(3) if x > 5 %}{{ x }}{% else %}empty{% endfor %}",
    "break and continue": "{% for x in range(9) %}{% if x == 1 %}{% continue %}{% elif x == 4 %}{% break %}{% endif %}{{ x }}{% else %}no{% endfor %}",
    "nested loops": "{% for a in 'ab' %}{% for b in 'xy' %}{{ a }}{{ b }}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }}{% endfor %}",
    "recursive": "{% for x in [{'n': 1, 'c': [{'n': 2}, {'n': 3, 'c': [{'n': 4}]}]}] recursive %}{{ loop.depth }}{{ x.n }}({{ loop(x.c) if x.c }}){% endfor %}",
    "loop call without recursive": "{% for x in [1] %}{{ loop([2]) }}{% endfor %}",
    "assign to loop": "{% for loop in [1] %}{% endfor %}",
    "break outside": "{% break %}",
    "scopes": "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}",
    "namespace": "{% set ns = namespace(x=0, found=false) %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% set ns.y = i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.found }}{{ ns.nope }}",
    "namespace underscore": "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "attribute of a dict": "{% set d = {} %}{% set d.x = 1 %}",
    "set tuple": "{% set a, b = 1, 2 %}{% set c = a, b %}{% set (d, e) = c %}{{ c }}{{ d }}{{ e }}",
    "set wrong tuple": "{% set a, b = [1] %}",
    "set block": "{% set x %}a{{ 1 }}\n{% if true %}b{% endif %}{% endset %}[{{ x }}]{{ x | length }}{% set y | upper | replace('A', 'z') %}abc{% endset %}{{ y }}",
    "set block is text": "{% set x %}<{% endset %}{{ x ~ '>' }}{{ x + '>' }}{{ x is escaped }}",
    "with": "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% set c = 3 %}{{ c }}{% endwith %}{{ a }}{{ b is defined }}{{ c is defined }}",
    "filter block": "{% filter upper | replace('A', '-') %}abc {{ 'x' }}{% endfilter %}",
    "macro": "{% macro f(a, b='x', c=a) %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(b=3, a=1) }}{{ f() }}{{ f(1, c=5) }}{{ f(*[7, 8]) }}{{ f(**{'a': 9}) }}",
    "macro too many": "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}",
    "macro unknown keyword": "{% macro f(a) %}{% endmacro %}{{ f(b=2) }}",
    "macro varargs": "{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}{{ f() }}",
    "macro sees later names": "{% macro f() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ f() }}{% set x = 6 %}{{ f() }}",
    "macro local": "{% set x = 1 %}{% macro f() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ f() }}{{ x }}",
    "macro recursion": "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "macro without end": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "macro result": "{% macro f() %}  <a>\n {% endmacro %}{{ f() | trim | length }}{{ f().strip() + '&' }}{{ f() is string }}{{ f.name }}",
    "macro in a loop": "{% for i in range(2) %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}",
    "call": "{% macro f(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% call f(1) %}body{{ 2 }}{% endcall %}",
    "call with arguments": "{% macro f(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(a, b=9) f('xy') %}[{{ a }}{{ b }}]{% endcall %}",
    "call without caller": "{% macro f() %}x{% endmacro %}{% call f() %}body{% endcall %}",
    "caller is defined": "{% macro f() %}{% if caller %}{{ caller() }}{% else %}none{% endif %}{% endmacro %}{{ f() }}{% call f() %}b{% endcall %}",
    "generation": "{% for m in messages %}{% generation %}{% set x = m.role %}{{ x }}{% endgeneration %}{{ x is defined }}\n{% endfor %}",
    "generation trims": "a\n  {% generation %}\n b\n  {% endgeneration %}\nc {%- generation -%} d {%- endgeneration %} e",
    "break in generation": "{% for m in messages %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "cycler": "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}",
    "joiner": "{% set j = joiner(' | ') %}{% for x in 'abc' %}{{ j() }}{{ x }}{% endfor %}{% set k = joiner() %}{{ k() }}{{ k() }}",
    "generators are used up": "{% set g = [1, 2, 3] | map('string') %}{{ g | first }}{{ g | list }}{{ g | list }}{{ '1' in g }}",
    "unpack a generator": "{% set a, b = [1, 2] | map('string') %}{{ a }}{{ b }}{% set rest = 'abc' | reverse %}{{ rest }}",
    "views": "{% set d = {'a': 1, 'b': 2} %}{% for k in d %}{{ k }}{% endfor %}{% for k in d.keys() %}{{ k }}{% endfor %}{{ d.values() | list }}{{ 'a' in d.keys() }}{{ ('a', 1) in d.items() }}{{ d.items() | length }}",
    "elif": "{% if 0 %}a{% elif '' %}b{% elif [0] %}c{% else %}d{% endif %}{% if missing %}x{% else %}y{% endif %}",
    "inline if": "{{ 'a' if messages else 'b' }}{{ 'x' if missing }}{{ ('x' if false) is undefined }}",
    "python colon": "{% if true: %}a{% endif %}",
    "balanced": "{{ {'a': {'b': 1}}['a']['b'] }}{{ '}}' }}{{ \"%}\" }}{{ {'x': '}'} }}",
    "comment with tags": "a{# {{ x }} {% if %} #}b{#- -#} c",
    "numbers": "{{ 1_000 }} {{ 0x1F }} {{ 0b11 }} {{ 0o17 }} {{ 1.5e3 }} {{ 1e-3 }} {{ 00 }}",
    "bad number": "{{ 012 }}",
    "unknown tag": "{% do x %}",
    "unclosed": "{% if true %}a",
    "unclosed variable": "{{ 1",
    "unclosed comment": "{# a",
    "include": "{% include 'x' %}",
    "extends": "{% extends 'x' %}",
    "empty": "{{ }}",
    "several in print": "{{ 1, 'a' }}",
    "raise in a branch": "{% if messages[0].role != 'system' %}{{ raise_exception('x') }}{% endif %}ok",
    "unknown filter in a branch": "{% if false %}{{ 1 | nope }}{% endif %}ok",
    "shadowing": "{% set messages = messages[1:] %}{{ messages | length }}{% set range = 5 %}{{ range }}{% set bos_token = 'x' %}{{ bos_token }}",
    "strings": "{{ 'a' 'b' \"c\" }}{{ 'line\nbreak' }}{{ 'tab\\tx' }}",
    "line numbers": "{% set x = 1\n   + 2 %}{{ x\n}}",
    "whitespace in data": "  a  \n\n{{ ' ' }}\n\n  b\n\n",
    "slices of filters": "{{ (messages | map(attribute='role') | list)[-1] }}{{ messages[:2] | map(attribute='role') | join(',') }}",
    "tests without parentheses": "{{ messages is sequence and 1 is number }}{{ 5 is divisibleby 5 and true }}{{ not 1 is none }}{{ 1 is not none or false }}",
    "filters bind tighter": "{{ -1 | abs }}{{ 'a' ~ 'b' | upper }}{{ 2 + 3 | string | length }}{{ 'a,b'.split(',') | length == 2 }}",
    "concat and add": "{{ 1 ~ 2 + 3 }}",
    "concat and product": "{{ 'a' ~ 2 * 3 }}",
    "date": "{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%B %A %j %H:%M:%S %y') }}|{% if strftime_now is defined %}yes{% endif %}",
}


def expressions():
    """The cases of EXPRESSIONS, which ` | ` separates where no filter follows."""
    for line in EXPRESSIONS.strip().splitlines():
        case = None
        for part in line.split(" | "):
            if case is None:
                case = part
            elif re.match(r"\w*", part).group() in FILTERS or part.startswith("nope"):
                case += " | " + part
            else:
                yield case
                case = part
        yield case


def cases():
    for expression in expressions():
        yield "{{ " + expression + " }}"
    yield from TEMPLATES.values()


def render(source):
    import datetime

    template = _compile_jinja_template(source)
    template.globals["strftime_now"] = lambda format: datetime.datetime(2024, 7, 26).strftime(format)
    return template.render(**VALUES)


def main():
    golden = []
    for source in cases():
        try:
            golden.append({"source": source, "expected": render(source)})
        except Exception as error:  # any kind: a template that fails must fail
            golden.append({"source": source, "expected": None, "error": f"{type(error).__name__}: {error}"[:100]})
    (HERE / "jinja.json").write_text(json.dumps(golden, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
