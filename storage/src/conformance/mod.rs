//! One suite for every backend: each intent and each of its outcomes, run unchanged.
//!
//! Never: a case that knows which backend it runs on.

#![allow(clippy::indexing_slicing, reason = "a suite of assertions: out of bounds is a failure like another")]

pub mod accounts;
pub mod commits;
pub mod data;
pub mod erasing;
pub mod keys;
pub mod owning;
pub mod reading;
pub mod rewinding;

use std::sync::Arc;

use async_trait::async_trait;

use crate::Store;

/// How the suite gets its stores.
#[async_trait]
pub trait Factory: Send {
    /// A store that holds nothing.
    async fn fresh(&mut self) -> Arc<dyn Store>;

    /// Stops that store and opens it again, as after a restart of its node.
    async fn reopen(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store>;

    /// Stops that store and opens it again as one that gave up acknowledged history, with everything that it held still there.
    async fn rewound(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store>;
}

/// Makes a module of tests, one a case, for a backend: `conformance!(memory, MemoryFactory::default())`.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $factory:expr) => {
        $crate::conformance_cases! { $name, $factory;
            owning: acquiring_creates_the_head_and_wins_a_higher_epoch_each_time,
                a_later_view_is_not_taken_from_and_views_lift_the_epoch,
                acquires_at_once_win_different_epochs,
                an_acquire_fences_the_owner_before;
            commits: a_commit_needs_both_the_epoch_and_the_seq,
                the_head_is_what_was_committed_after_any_number_of_commits,
                dedup_of_64_devices_survives_and_a_revoke_removes_its_own,
                figures_are_what_a_recount_finds,
                a_new_timeline_survives,
                many_logs_commit_at_once_and_each_without_gaps,
                a_commit_of_many_entries_is_all_there,
                owners_at_once_never_both_commit_a_seq;
            reading: a_log_that_is_not_there_is_empty,
                pull_gives_whole_entries_until_the_bytes_are_passed,
                pull_gives_the_entry_that_holds_the_last_one_wanted,
                pull_refuses_another_timeline_a_cut_history_and_the_middle_of_a_batch,
                look_up_answers_in_the_order_asked,
                history_goes_backwards_from_a_version,
                row_hashes_are_those_of_the_rows,
                a_snapshot_and_the_log_after_it_are_the_state_while_writes_go_on,
                a_snapshot_pages_a_long_roster_first,
                a_snapshot_token_of_another_timeline_or_ahead_is_refused;
            rewinding: the_first_acquire_after_a_rewind_opens_a_new_timeline_and_a_second_one_does_not,
                several_rewinds_open_one_timeline_and_count_all,
                a_log_that_is_new_after_a_rewind_has_one_timeline,
                a_rewind_leaves_accounts_and_erased_logs_as_they_are,
                the_view_after_a_rewind_fences_every_owner_before_it,
                what_is_brought_back_says_where_it_was_first_committed_in_every_read;
            keys: credentials_are_seen_exactly_with_the_head_of_their_commit,
                a_commit_that_is_fenced_leaves_credentials_and_wraps_as_they_are,
                credentials_of_a_log_without_an_account_are_refused_with_their_commit,
                a_rotation_leaves_dedup_of_its_members_and_moves_the_figures_of_the_head,
                a_newer_wrap_is_given_in_snapshots_and_histories_and_the_log_stays_as_it_was,
                a_wrap_of_a_row_that_is_superseded_missing_or_wrapped_as_new_has_no_effect,
                rows_are_looked_up_in_the_order_asked;
            erasing: an_erased_log_is_gone_for_ever_with_its_user,
                an_erase_takes_all_of_a_large_log_and_leaves_the_others;
            accounts: address_and_user_are_both_unique,
                an_account_is_found_by_address_and_by_user,
                a_family_advances_past_a_number_that_it_did_not_pass_until_it_is_revoked,
                revoking_a_devices_families_spares_the_others;
        }
    };
}

/// The part of [`conformance!`] that spells the tests out.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($name:ident, $factory:expr; $($module:ident: $($case:ident),+;)+) => {
        mod $name {
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $crate::conformance::$module::$case(&mut $factory).await;
                }
            )+)+
        }
    };
}
