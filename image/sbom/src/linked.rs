//! What the linker took from the system, by its map.

use std::collections::BTreeSet;

/// The libraries of which something is in the binary, of those that are not of a crate: `/usr/lib/x86_64-linux-gnu/libssl.a` and the like.
/// Both lld and GNU's ld name a member that was taken as `ARCHIVE(MEMBER)`; an archive that was only looked into stands there without.
pub fn system_archives(map: &str) -> BTreeSet<String> {
    map.split_whitespace()
        .filter(|word| word.starts_with("/usr/"))
        .filter_map(|word| word.split_once(".a("))
        .map(|(archive, _)| normal(&format!("{archive}.a")))
        .collect()
}

/// The C compiler names its own folder and goes up from there: `/usr/lib/gcc/x86_64-linux-gnu/12/../../../x86_64-linux-gnu/libc.a`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_those_of_which_a_member_was_taken() {
        let of_gnu = "Archive member included to satisfy reference by file (symbol)\n\n\
            /target/deps/libring-1.rlib(a.o)\n                              main.o (ring)\n\
            /usr/lib/x86_64-linux-gnu/libssl.a(s.o)\n                              rdkafka.o (SSL_new)\n\
            /usr/lib/gcc/x86_64-linux-gnu/12/../../../x86_64-linux-gnu/libc.a(libc-start.o)\n\
            /usr/lib/x86_64-linux-gnu/libssl.a(t.o)\n\
            LOAD /usr/lib/x86_64-linux-gnu/libz.a\n";
        let of_lld = "     VMA      LMA     Size Align Out     In      Symbol\n\
            2a8      2a8       17     1         <internal>:(.interp)\n\
            50a0     50a0       28     4         /usr/lib/x86_64-linux-gnu/libssl.a(s.o):(.note)\n\
            60a0     60a0       28     4         /usr/lib/gcc/x86_64-linux-gnu/12/../../../x86_64-linux-gnu/libc.a(x.o):(.text)\n\
            70a0     70a0       28     4         /target/deps/libring-1.rlib(a.o):(.text)\n";
        for map in [of_gnu, of_lld] {
            assert!(system_archives(map).iter().eq([
                "/usr/lib/x86_64-linux-gnu/libc.a",
                "/usr/lib/x86_64-linux-gnu/libssl.a"
            ]));
        }
    }
}
