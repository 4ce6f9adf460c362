// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file that every Kafka tool takes: lines of java.util.Properties, one of them a JAAS line.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// Reads a file as `java.util.Properties.load` does: Latin-1, escapes, lines that go on. The later
/// of two equal keys counts. The error says what is wrong and in which line, never a value.
pub(crate) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Zeroizing<String>>, String> {
    let text: Zeroizing<String> = Zeroizing::new(bytes.iter().map(|byte| *byte as char).collect());
    let mut found = BTreeMap::new();
    for (number, line) in logical_lines(&text) {
        let (key, value) = split(&line);
        let key = unescape(key).map_err(|why| format!("line {number}: {why}"))?;
        let value = unescape(value).map_err(|why| format!("line {number}: {why}"))?;
        found.insert(key.to_string(), value);
    }
    Ok(found)
}

/// Lines without comments and blank ones, each whole; with the number of its first.
fn logical_lines(text: &str) -> Vec<(usize, Zeroizing<String>)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<(usize, Zeroizing<String>)> = Vec::new();
    let mut goes_on = false;
    for (number, natural) in text.split('\n').enumerate() {
        let natural = natural.trim_start_matches([' ', '\t', '\x0c']);
        if !goes_on && (natural.is_empty() || natural.starts_with(['#', '!'])) {
            continue;
        }
        let slashes = natural.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let more = slashes % 2 == 1;
        let part = if more { natural.strip_suffix('\\').unwrap_or(natural) } else { natural };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, line)) => line.push_str(part),
            None => lines.push((number + 1, Zeroizing::new(part.to_owned()))),
        }
        goes_on = more;
    }
    lines
}

/// The key ends at the first `=`, `:` or white space that no backslash stands before.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at_checked(end.unwrap_or(line.len())).unwrap_or((line, ""));
    let rest = rest.trim_start_matches([' ', '\t', '\x0c']);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches([' ', '\t', '\x0c']))
}

fn unescape(text: &str) -> Result<Zeroizing<String>, &'static str> {
    let mut units: Zeroizing<Vec<u16>> = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = match c {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    units.push(unicode(&mut rest).ok_or("`\\u` wants four hexadecimal digits")?);
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            plain => plain,
        };
        units.extend(c.encode_utf16(&mut [0; 2]).iter());
    }
    String::from_utf16(&units).map(Zeroizing::new).map_err(|_| "half of a surrogate pair")
}

fn unicode(rest: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits: String = rest.take(4).collect();
    let hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(&digits, 16).ok()).flatten()
}

/// A JAAS line: one login module and its options.
pub(crate) struct Jaas {
    /// The module's class.
    pub(crate) module: String,
    /// Its options.
    pub(crate) options: BTreeMap<String, Zeroizing<String>>,
}

impl Jaas {
    /// Reads `MODULE required NAME="VALUE" …;`, and nothing behind it.
    pub(crate) fn read(line: &str) -> Result<Jaas, &'static str> {
        let mut rest = line.trim();
        let module = word(&mut rest).ok_or("it names no login module")?;
        let flag = word(&mut rest).unwrap_or_default();
        if !["required", "requisite", "sufficient", "optional"]
            .contains(&flag.to_ascii_lowercase().as_str())
        {
            return Err("behind the login module stands no `required`");
        }
        let mut options = BTreeMap::new();
        loop {
            rest = rest.trim_start();
            if let Some(behind) = rest.strip_prefix(';') {
                let one = behind.trim().is_empty();
                return match one {
                    true => Ok(Jaas { module, options }),
                    false => Err("something stands behind the `;`: one login module is allowed"),
                };
            }
            let name =
                word(&mut rest).ok_or("it does not end with `;`, or an option has no name")?;
            rest = rest.trim_start().strip_prefix('=').ok_or("an option has no `=`")?;
            options.insert(name, value(&mut rest)?);
        }
    }
}

fn word(rest: &mut &str) -> Option<String> {
    let text = rest.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || "._$-".contains(c)));
    let (word, behind) = text.split_at_checked(end.unwrap_or(text.len()))?;
    *rest = behind;
    (!word.is_empty()).then(|| word.to_owned())
}

fn value(rest: &mut &str) -> Result<Zeroizing<String>, &'static str> {
    let text = rest.trim_start();
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        *rest = text;
        return word(rest).map(Zeroizing::new).ok_or("an option has no value");
    };
    let mut out = Zeroizing::new(String::new());
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' | '\r' => break,
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('0'..='7' | 'a' | 'b' | 'f' | 'v') | None => {
                    return Err("a value has an escape that is not understood");
                }
                Some(other) => out.push(other),
            },
            end if end == quote => {
                *rest = text.get(at + 1..).unwrap_or_default();
                return Ok(out);
            }
            plain => out.push(plain),
        }
    }
    Err("a quoted value does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Vec<(String, String)> {
        let all = read(text.as_bytes()).unwrap();
        all.into_iter().map(|(key, value)| (key, value.to_string())).collect()
    }

    fn pair(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    // Each was read by java.util.Properties of JDK 17.
    #[test]
    fn lines_mean_what_java_says() {
        assert_eq!(one("a=b"), pair("a", "b"));
        assert_eq!(one("  a \t = \t b  "), pair("a", "b  "));
        assert_eq!(one("a:b=c"), pair("a", "b=c"));
        assert_eq!(one("a b c"), pair("a", "b c"));
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one("# no\n! no\n\n \t\na=b"), pair("a", "b"));
        assert_eq!(one("a=b\\\n   c\\\r\n\td"), pair("a", "bcd"));
        assert_eq!(one("a=b\\\\\nc=d").len(), 2);
        assert_eq!(one("a=b\\\n#c"), pair("a", "b#c"));
        assert_eq!(one("a\\ b\\=c\\:=d"), pair("a b=c:", "d"));
        assert_eq!(one("a=\\t\\n\\r\\f\\q\\\"\\\\"), pair("a", "\t\n\r\x0cq\"\\"));
        assert_eq!(one("a=\\u00e4\\uD83D\\uDE00"), pair("a", "ä😀"));
        assert_eq!(one("a=1\na=2"), pair("a", "2"));
        assert_eq!(one("a=b\\"), pair("a", "b"));
        assert_eq!(read(b"a=\xe4").unwrap()["a"].as_str(), "ä");
    }

    #[test]
    fn what_java_refuses_is_refused_without_its_value() {
        for wrong in ["a=\\u12", "a=\\u12g4", "ok=1\nsecret=hunter2\\uD800"] {
            let why = read(wrong.as_bytes()).unwrap_err();
            assert!(why.starts_with("line ") && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_jaas_line_is_a_module_and_its_options() {
        let jaas = Jaas::read(
            "org.apache.kafka.common.security.scram.ScramLoginModule required \
             username=\"bil ling\" password='a;\\\"\\\\ b' plain=word-1;",
        )
        .unwrap();
        assert_eq!(jaas.module, "org.apache.kafka.common.security.scram.ScramLoginModule");
        let options: Vec<(&str, &str)> =
            jaas.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let want = [("password", "a;\"\\ b"), ("plain", "word-1"), ("username", "bil ling")];
        assert_eq!(options, want);
    }

    #[test]
    fn what_is_no_jaas_line_is_refused_without_its_secret() {
        for wrong in [
            "",
            "Module",
            "Module maybe;",
            "Module required",
            "Module required password=\"hunter2\"",
            "Module required password=\"hunter2;",
            "Module required password \"hunter2\";",
            "Module required =\"hunter2\";",
            "Module required password=;",
            "Module required a=\"hunter2\"; Other required;",
            "Module required a=\"\\101hunter2\";",
        ] {
            let why = Jaas::read(wrong).map(|_| ()).unwrap_err();
            assert!(!why.contains("hunter2"), "{wrong}");
        }
    }
}
