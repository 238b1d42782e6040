#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""functions.py XML HEADERS DIR VERSION - a man page a function, from what Doxygen read
in the headers (its XML), and the structs and flags from the headers as they stand."""
import re
import sys
import xml.etree.ElementTree as tree
from pathlib import Path

# Parameters that every call has, which the headers explain once.
COMMON = {
    'ww': 'the tracker',
    'start': 'where it begins: at a page, except for ww_mark(), ww_hold() and ww_release()',
    'len': 'bytes; with WW_WINDOW 0 means up to the end of the address space',
    'flags': '0',
    'out': 'filled; out->size is set by the caller to the size of the struct',
    'at': 'any address; NULL to begin',
    'index': '0, 1 and so on',
    'cap': 'one WW_CAP_ bit',
    'ranges': "an array of the caller's",
    'count': 'entries of the array; ww_get_ranges(): in: room, out: stored',
}
# Those of the Win32 calls.
WINDOWS = 'as on Windows'


def text_of(node):
    return re.sub(r'\s+', ' ', ''.join(node.itertext())).strip()


def without(node, *tags):
    """The text of a node, less that of some of its children."""
    if node is None:
        return ''
    parts = [node.text or '']
    for child in node:
        parts.append('' if child.tag in tags else without(child, *tags))
        parts.append(child.tail or '')
    return re.sub(r'\s+', ' ', ''.join(parts)).strip()


def roff(text):
    text = text.replace('\\', r'\e').replace('-', r'\-')
    return re.sub(r"^([.'])", r'\\&\1', text, flags=re.M)


def sentences(text):
    """'Threads: any. Signals: no. Cost: none.', a part a line."""
    return re.sub(r' (Signals|Cost): ', r'\n.br\n\1: ', text)


def definition(source, name):
    """A struct or an enum, as the header has it, with the comment in front of it."""
    found = re.search(r'(?:^/\*(?:(?!\*/).)*\*/\n)?^(?:struct|enum) %s \{\n.*?^\};$' % name, source,
                      flags=re.M | re.S)
    return found.group(0) if found else None


def shown_types(member, source):
    """What a function's parameters and its text name."""
    prototype = text_of(member.find('argsstring'))
    names = [n for n in re.findall(r'struct (\w+)', prototype) if n != 'ww']
    names += [n for n in re.findall(r'\bww_[A-Z_]+[A-Z]\b', prototype)]
    text = ' '.join(without(d) for d in member.iter('detaileddescription'))
    text += ''.join(definition(source, n) or '' for n in names)
    for prefix, enum in (('WW_OPEN_', 'ww_open_flag'), ('WW_WATCH_', 'ww_watch_flag'),
                         ('WW_CAP_', 'ww_cap'), ('WW_RESET', 'ww_flag'), ('WW_WINDOW', 'ww_flag')):
        if prefix in text and enum not in names:
            names.append(enum)
    if member.find('name').text == 'ww_cap_name':
        names.append('ww_cap')
    return [d for d in (definition(source, n) for n in dict.fromkeys(names)) if d]


def parameters(member):
    """(name, text) of each."""
    texts = {}
    for item in member.iter('parameteritem'):
        for name in item.iter('parametername'):
            for one in name.text.split(','):
                texts[one.strip()] = text_of(item.find('parameterdescription'))
    windows = re.search(r'ww_[A-Z]', member.find('name').text)
    for param in member.findall('param'):
        name = param.findtext('declname')
        if name:
            yield name, texts.get(name) or (WINDOWS if windows else COMMON[name])


def page(member, header, source, version, date, others):
    name = member.find('name').text
    brief = text_of(member.find('briefdescription')).rstrip('.')
    detail = member.find('detaileddescription')
    returns = ' '.join(text_of(s) for s in detail.iter('simplesect') if s.get('kind') == 'return')
    body = without(detail, 'parameterlist', 'simplesect')
    returns, _, notes = (returns if 'Threads: ' in returns else
                         returns + ' ').partition('Threads: ')
    if not notes and 'Threads: ' in body:
        body, _, notes = body.partition('Threads: ')
    arguments = text_of(member.find('argsstring'))[1:-1].split(', ')
    out = ['.TH %s 3 %s "libwritewatch %s" "Library Functions Manual"' % (name.upper(), date, version),
           '.SH NAME', r'%s \- %s' % (name, roff(brief)), '.SH SYNOPSIS', '.nf',
           r'.B #include <%s>' % roff(header), '.PP',
           '.BI "%s("' % roff(member.find('definition').text)]
    out += ['.BI "    %s%s"' % (roff(a), '' if a is arguments[-1] else ',') for a in arguments]
    out += ['.BI ");"', '.fi', '.SH DESCRIPTION', roff(brief) + '.']
    if body:
        out += [roff(body)]
    explained = list(parameters(member))
    if explained:
        out += ['.SH PARAMETERS']
        for parameter, what in explained:
            out += ['.TP', '.I ' + parameter, roff(what)]
    types = shown_types(member, source)
    if types:
        out += ['.SH TYPES', '.nf']
        for one in types:
            out += [roff(one.replace('\t', '    ')), '']
        out += ['.fi']
    if returns.strip():
        out += ['.SH RETURN VALUE', roff(returns.strip())]
    if notes:
        out += ['.SH NOTES', sentences('Threads: ' + roff(notes))]
    out += ['.SH SEE ALSO', ', '.join(['writewatch(3)', 'writewatch(7)'] +
                                      ['%s(3)' % o for o in others if o != name])]
    return '\n'.join(out) + '\n'


def main():
    xml, headers, out, version = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    overview = (Path(__file__).parent / 'writewatch.3').read_text()
    date = re.search(r'^\.Dd (.*)$', overview, flags=re.M).group(1)
    for header in ('writewatch', 'writewatch-win32'):
        source = (headers / (header + '.h')).read_text()
        members = [m for m in tree.parse(xml / (header + '_8h.xml')).iter('memberdef')
                   if m.get('kind') == 'function' and m.find('name').text.startswith('ww_')]
        names = [m.find('name').text for m in members]
        for member in members:
            text = page(member, header + '.h', source, version, '"%s"' % date, names)
            (out / (member.find('name').text + '.3')).write_text(text)


main()
