//! Timers: when to run at start, when to run next, and what is written down.
//!
//! One run at a time; the next one is armed after the run, from the schedule's next occurrence after
//! the *start* of that run. When that is already over it fires at once, so a long run is followed by
//! one run and not by several. A failed run changes nothing.
//!
//! Facts: `Azure/azure-webjobs-sdk-extensions`
//! `src/WebJobs.Extensions/Extensions/Timers/Listener/TimerListener.cs`.

use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use super::Host;
use super::envelope::{TriggerInput, Wire};
use super::function::{Function, Trigger};
use super::schedule::{NEVER, Schedule, ScheduleStatus};

/// Runs a timer until the host stops.
pub(crate) async fn listen(host: Arc<Host>, function: Arc<Function>) {
    let Trigger::Timer { schedule, run_on_startup, use_monitor } = &function.trigger else { return };
    let name = &function.name;
    let mut start = host.clock.now();
    let monitored = *use_monitor && !schedule.is_frequent(start);
    let mut status = None;
    let mut past_due = false;
    if monitored {
        let recorded = host.timers.get(name);
        past_due = host.timers.check_past_due(name, schedule, start);
        // The first run ever is told nothing but when it is due.
        status = match recorded {
            Some(_) => host.timers.get(name),
            None => host.timers.get(name).map(|status| ScheduleStatus { last_updated: NEVER, ..status }),
        };
    }
    let mut stopping = host.stopping();
    let by_startup = !past_due && *run_on_startup;
    let mut first = true;
    loop {
        let guard = (!first || past_due || by_startup).then(|| host.activity.begin(name));
        if guard.is_some() {
            start = host.clock.now();
            let data = timer_info(schedule, status.as_ref(), past_due && first);
            let input = TriggerInput::new(Wire::Json(data));
            // A failure was logged, and the schedule goes on.
            let _ = host.run(&function, &input, host.background_trace()).await;
        }
        if guard.is_some() && monitored {
            // A timer that fired a little early must not name the same occurrence twice.
            let early = status.as_ref().map(|status| status.next).filter(|next| *next > start);
            let base = early.filter(|_| !(by_startup && first)).unwrap_or(start);
            let next = schedule.next_after(base).unwrap_or(base);
            let recorded = ScheduleStatus { last: start, next, last_updated: start };
            host.timers.set(name, recorded.clone());
            status = Some(recorded);
        }
        first = false;
        let due = schedule.next_after(start);
        note_due(&host, name, due);
        drop(guard);
        let Some(due) = due else { return };
        tokio::select! {
            () = host.clock.sleep_until(due) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

fn note_due(host: &Host, function: &str, due: Option<time::OffsetDateTime>) {
    let mut timers = host.timers_due.lock().unwrap_or_else(PoisonError::into_inner);
    match due {
        Some(due) => timers.insert(function.to_owned(), due),
        None => timers.remove(function),
    };
    drop(timers);
    host.activity.changed();
}

/// The timer object: the state *before* this run.
pub(crate) fn timer_info(schedule: &Schedule, status: Option<&ScheduleStatus>, past_due: bool) -> Value {
    json!({
        "Schedule": { "AdjustForDST": schedule.adjusts_for_dst() },
        "ScheduleStatus": status.map(ScheduleStatus::to_wire),
        "IsPastDue": past_due,
    })
}
