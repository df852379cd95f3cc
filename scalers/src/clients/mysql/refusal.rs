//! What a server's error means.

use crate::scaler::ScalerError;

/// An error packet: a code, a state, a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: u16,
    state: String,
    message: String,
}

impl Refusal {
    /// The packet begins with 0xff. Before a client has named its version, servers leave the state out.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let [0xff, low, high, rest @ ..] = packet else {
            return None;
        };
        let (state, message) = match rest {
            [b'#', state @ ..] => state.split_at_checked(5)?,
            message => (&[][..], message),
        };
        Some(Self {
            code: u16::from_le_bytes([*low, *high]),
            state: String::from_utf8_lossy(state).into_owned(),
            message: String::from_utf8_lossy(message).into_owned(),
        })
    }

    /// Without the password, which the server knows, or what was sent for one.
    pub fn explain(&self, password: Option<&str>) -> ScalerError {
        let mut text = format!("{} (error {}", self.message, self.code);
        if !self.state.is_empty() {
            text.push_str(&format!(", SQLSTATE {}", self.state));
        }
        text.push(')');
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            text = text.replace(password, "***");
        }
        match self.code {
            // Login, host, database, table, column, procedure, privilege, password expired, account locked.
            1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1251 | 1370 | 1410 | 1698 | 1820 | 1862
            | 3118 | 3159 | 4151 => ScalerError::Unauthorized(text),
            // Database, table, column, function, view, sequence.
            1049 | 1051 | 1054 | 1109 | 1146 | 1305 | 1356 | 4091 => ScalerError::NotFound(text),
            // Too many connections, out of memory or disk, shutdown, lock wait, deadlock, stopped by somebody or by a timeout.
            1020
            | 1021
            | 1037
            | 1038
            | 1040
            | 1041
            | 1053
            | 1129
            | 1135
            | 1152..=1161
            | 1203
            | 1205
            | 1213
            | 1226
            | 1317
            | 1927
            | 1969
            | 3024
            | 3169
            | 4031 => ScalerError::Unreachable(text),
            _ if self.state.starts_with("08") => ScalerError::Unreachable(text),
            _ if self.state.starts_with("28") => ScalerError::Unauthorized(text),
            _ => ScalerError::Malformed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_is_to_be_done() {
        for (packet, expected) in [
            (
                &b"\xff\x15\x04#28000Access denied for 'u' with hunter2"[..],
                "unauthorized: Access denied for 'u' with *** (error 1045, SQLSTATE 28000)",
            ),
            (
                b"\xff\x7a\x04#42S02Table 'shop.sale' doesn't exist",
                "not found: Table 'shop.sale' doesn't exist (error 1146, SQLSTATE 42S02)",
            ),
            (
                b"\xff\x10\x04Too many connections",
                "unreachable: Too many connections (error 1040)",
            ),
            (
                b"\xff\x28\x04#42000You have an error in your SQL syntax",
                "malformed answer: You have an error in your SQL syntax (error 1064, SQLSTATE 42000)",
            ),
        ] {
            let refusal = Refusal::read(packet).unwrap();
            assert_eq!(refusal.explain(Some("hunter2")).to_string(), expected);
        }
        for broken in [&b""[..], b"\xff", b"\xff\x15\x04#28", b"\0\0\0"] {
            assert_eq!(Refusal::read(broken), None);
        }
    }
}
