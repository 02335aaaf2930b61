//! Decides if MongoDB or the data sent to it caused an error.

use mongodb::error::{Error, ErrorKind, WriteFailure};

/// Describes an error without addresses or documents.
pub fn describe(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => format!("command error {} ({})", command.code, command.code_name),
        ErrorKind::ServerSelection { .. } => "no server can be reached".to_owned(),
        ErrorKind::Authentication { .. } => "authentication failed".to_owned(),
        ErrorKind::Write(WriteFailure::WriteError(error)) => format!("write error {}", error.code),
        ErrorKind::Io(error) => format!("input/output error: {}", error.kind()),
        ErrorKind::ConnectionPoolCleared { .. } => "the connections were lost".to_owned(),
        _ => "an error of the driver".to_owned(),
    }
}

/// Returns true if MongoDB cannot be reached, or refuses every write whatever its contents are. Otherwise it refuses
/// this write because of its contents.
pub fn is_away(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(_) | ErrorKind::Write(WriteFailure::WriteError(_)) => {
            code::is_of_the_server(code::of_error(error))
        }
        ErrorKind::Bson(_) | ErrorKind::InvalidArgument { .. } => false,
        _ => true,
    }
}

/// The server's error codes (<https://www.mongodb.com/docs/manual/reference/error-codes/>).
pub mod code {
    use super::{Error, ErrorKind, WriteFailure};

    /// Returns the code of an error. Returns 0 if it has none.
    pub fn of_error(error: &Error) -> i32 {
        match error.kind.as_ref() {
            ErrorKind::Command(command) => command.code,
            ErrorKind::Write(WriteFailure::WriteError(error)) => error.code,
            _ => 0,
        }
    }

    /// Returns true if a code means a failure of the server, and not of the data sent to it. An unknown code counts as
    /// the latter: a message in the dead-letter queue causes an alarm, but a message that waits forever does not.
    pub fn is_of_the_server(code: i32) -> bool {
        matches!(
            code,
            // Nobody may write, or not as this user: Unauthorized, AuthenticationFailed, UserNotFound, AtlasError (a
            // cluster that is over its quota, or paused).
            13 | 18 | 11 | 8000
            // No room: OutOfDiskSpace, and the codes of servers before 4.4 for it.
            | 14031 | 12501 | 10003
            // No time, or no turn: ExceededTimeLimit, MaxTimeMSExpired, LockTimeout, WriteConflict, LockBusy,
            // ExceededMemoryLimit, TemporarilyUnavailable, WriteConcernFailed, UnsatisfiableWriteConcern.
            | 262 | 50 | 24 | 112 | 46 | 146 | 365 | 64 | 100
            // Unavailable, or not the primary: HostUnreachable, HostNotFound, NetworkTimeout, SocketException,
            // ShutdownInProgress, InterruptedAtShutdown, Interrupted, InterruptedDueToReplStateChange,
            // PrimarySteppedDown, NotWritablePrimary, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary,
            // ReadConcernMajorityNotAvailableYet, FailedToSatisfyReadPreference, LegacyNotPrimary, StaleConfig.
            | 6 | 7 | 89 | 9001 | 91 | 11600 | 11601 | 11602 | 189 | 10107 | 13435 | 13436 | 134 | 133 | 10058 | 13388
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_cannot_be_reached_is_away_and_what_cannot_be_written_is_not() {
        assert!(is_away(&Error::from(io::Error::from(io::ErrorKind::ConnectionReset))));
        assert!(is_away(&Error::custom("the write is not yet safe")));
        let unwritable = mongodb::bson::serialize_to_vec(&std::collections::HashMap::from([(vec![1], 1)])).err();
        assert!(unwritable.is_some_and(|error| !is_away(&Error::from(error))));
    }

    #[test]
    fn a_full_disk_is_the_servers_and_a_document_too_large_is_not() {
        // OutOfDiskSpace, NotWritablePrimary, AtlasError; DocumentValidationFailure, BSONObjectTooLarge, BadValue.
        for (code, is_of_the_server) in
            [(14031, true), (10107, true), (8000, true), (121, false), (10334, false), (2, false), (0, false)]
        {
            assert_eq!(code::is_of_the_server(code), is_of_the_server, "{code}");
        }
    }
}
