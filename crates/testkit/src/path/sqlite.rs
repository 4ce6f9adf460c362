// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SQLite ledger as a [`Store`](super::Store). A macro, so that it is made where
//! `chancery-stores` is a dependency: here it is not.

/// Makes a type `Sqlite` that is a [`Store`](crate::path::Store).
#[macro_export]
macro_rules! sqlite_store {
    () => {
        /// The transactional ledger, with a table of effects in the same database.
        struct Sqlite;

        impl Sqlite {
            fn open(
                folder: &std::path::Path,
                pages_max: Option<u32>,
            ) -> ::chancery_stores::sqlite::Database {
                use ::chancery_stores::sqlite::{Database, Limits};
                let limits = Limits { pages_max, ..Limits::default() };
                let database = Database::open_with(folder.join("service.db"), limits).unwrap();
                let sql = database.connection().unwrap();
                sql.execute_batch("CREATE TABLE IF NOT EXISTS effect (event TEXT NOT NULL)")
                    .unwrap();
                database
            }

            fn rows<T>(
                folder: &std::path::Path,
                query: &str,
                read: impl Fn(String, Vec<u8>) -> T,
            ) -> Vec<T> {
                let sql = Sqlite::open(folder, None).connection().unwrap();
                let mut select = sql.prepare(query).unwrap();
                let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
                rows.map(|row| row.unwrap()).map(|(text, bytes)| read(text, bytes)).collect()
            }
        }

        impl $crate::path::Store for Sqlite {
            type Ledger = ::chancery_stores::sqlite::Transactional;

            fn ledger(folder: &std::path::Path, pages_max: Option<u32>) -> Self::Ledger {
                Self::Ledger::new(&Sqlite::open(folder, pages_max)).unwrap()
            }

            fn effect(tx: &mut ::chancery_stores::sqlite::Tx, event: &str) -> Result<(), String> {
                let done = tx.execute("INSERT INTO effect (event) VALUES (?1)", [event]);
                done.map(drop).map_err(|error| error.to_string())
            }

            fn effects(folder: &std::path::Path) -> Vec<String> {
                let query = "SELECT event, x'' FROM effect ORDER BY rowid";
                Sqlite::rows(folder, query, |event, _| event)
            }

            fn kept(folder: &std::path::Path) -> Vec<(String, String)> {
                let query = "SELECT disposition, CAST(reason AS BLOB) FROM chancery_kept";
                let text = |bytes| String::from_utf8(bytes).unwrap();
                Sqlite::rows(folder, query, |disposition, reason| (disposition, text(reason)))
            }

            fn records(folder: &std::path::Path) -> Vec<::chancery::core::record::Record> {
                let query = "SELECT '', record FROM chancery_evidence ORDER BY seq";
                let read = |bytes: Vec<u8>| ::chancery::core::record::Record::decode(&bytes);
                Sqlite::rows(folder, query, |_, record| read(record).unwrap())
            }
        }
    };
}
