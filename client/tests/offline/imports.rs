//! Imports into the queue.

use serde_json::json;

use crate::support::Home;

const HEADER: &str = "\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n";

fn import(home: &Home, rows: &str) -> crate::support::Ran {
    let file = home.path().join("sessions.csv");
    std::fs::write(&file, format!("{HEADER}{rows}")).unwrap();
    home.run(&["import", "--format", "pomodoro", file.to_str().unwrap(), "--offline", "--json"])
}

#[test]
fn broken_rows_are_counted_and_named_and_the_rest_is_queued() {
    let home = Home::signed_in();
    let rows =
        "\"@a,@b\",\"1,1\",1,1,2009-04-09,NA,2\n\"@a\",\"1\",1,1,2009-13-09,NA,NA\n\"@a\",\"1\"\n\"@c\",\"1\",2,0,2009-04-10,0.5,NA\n";
    let imported = import(&home, rows).done();
    assert_eq!(
        imported.json(),
        [json!({"rows": 4, "imported": 2, "unchanged": 0, "deleted": 0, "broken": 2, "acknowledged": false, "paused_edits": 0})]
    );
    assert!(imported.stderr.contains("line 3: ") && imported.stderr.contains("line 4: "), "{}", imported.stderr);
    assert_eq!(home.status()["pending"], json!(2));
    let listed = home.run(&["list", "timer_session", "--offline", "--json"]).done().json();
    let tags: Vec<_> = listed.iter().map(|record| record["value"]["tags"].clone()).collect();
    assert!(tags.contains(&json!(["@a", "@b"])) && tags.contains(&json!(["@c"])));
}

#[test]
fn importing_again_queues_nothing_and_equal_rows_are_records_of_their_own() {
    let home = Home::signed_in();
    let row = "\"@a\",\"1\",1,1,2009-04-09,NA,2\n";
    let rows = row.repeat(3);
    assert_eq!(import(&home, &rows).done().json()[0]["imported"], json!(3));
    assert_eq!(import(&home, &rows).done().json()[0]["imported"], json!(0));
    assert_eq!(home.status()["pending"], json!(3));
    assert_eq!(import(&home, &row.repeat(4)).done().json()[0]["imported"], json!(1), "one more of the same is one more");
}

#[test]
fn a_record_that_was_edited_since_is_left_alone() {
    let home = Home::signed_in();
    let row = "\"@a\",\"1\",1,1,2009-04-09,NA,2\n";
    import(&home, row).done();
    let id = home.run(&["list", "--offline", "--json"]).done().json()[0]["id"].as_str().unwrap().to_owned();
    home.run(&["put", "timer_session", &id, "{\"mine\":true}", "--offline"]).done();
    assert_eq!(import(&home, row).done().json()[0]["unchanged"], json!(1));
    assert_eq!(home.run(&["get", "timer_session", &id, "--offline"]).done().stdout, "{\"mine\":true}\n");
}

#[test]
fn a_file_of_another_kind_is_refused_with_what_it_lacks() {
    let home = Home::signed_in();
    let file = home.path().join("other.csv");
    std::fs::write(&file, "a,b\n1,2\n").unwrap();
    let ran = home.run(&["import", "--format", "pomodoro", file.to_str().unwrap(), "--offline", "--json"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.error()["message"].as_str().unwrap().contains("X.words"));
}
