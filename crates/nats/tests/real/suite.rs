// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suites that every broker must pass.

use crate::fixture::Nats;

chancery_testkit::conformance!(Nats);
chancery_testkit::path_suite!(Nats);
