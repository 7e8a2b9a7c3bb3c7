use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A lane of writes (200 at once, 10 a second) that holds this and refills so fast.
fn lane(tokens: f64, rate: f64) -> Arc<Lane> {
    let lane = Arc::new(Lane::new(Kind::Writes));
    (lane.bucket().tokens, lane.bucket().rate) = (tokens, rate);
    lane
}

/// A call that is out.
fn out(lane: &Arc<Lane>) -> Place {
    lane.bucket().out += 1;
    Place { lane: Some(lane.clone()) }
}

/// What the bucket holds, and how fast it fills.
fn state(lane: &Lane) -> (f64, f64) {
    let bucket = lane.bucket();
    (bucket.tokens, bucket.rate)
}

async fn seconds(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[test]
fn calls_are_counted_by_subscription_and_kind() {
    for (path, expected) in [
        ("/subscriptions/ABC/resourceGroups/x", Some("abc")),
        ("/Subscriptions/abc", Some("abc")),
        ("/subscriptions/", None),
        ("/subscriptions", None),
        ("/tenants/abc/subscriptions/abc", None),
        ("/providers/Microsoft.ResourceGraph/resources", None),
    ] {
        assert_eq!(subscription(path).as_deref(), expected, "{path}");
    }
    let kinds =
        [Method::Get, Method::Head, Method::Delete, Method::Put, Method::Post, Method::Patch].map(Kind::of);
    assert_eq!(kinds[..3], [Kind::Reads, Kind::Reads, Kind::Deletes]);
    assert_eq!(kinds[3..], [Kind::Writes; 3]);
}

#[tokio::test(start_paused = true)]
async fn each_kind_learns_from_its_own_header_and_calls_of_no_subscription_from_none() {
    let pace = Pace::default();
    let turn = async |method, path| pace.turn(method, path, Urgency::Usual, None, PATIENCE).await.unwrap();
    for (method, word) in [(Method::Get, "reads"), (Method::Put, "writes"), (Method::Delete, "deletes")] {
        let place = turn(method, "/subscriptions/a/x").await;
        assert_eq!(place.header(), Some(&*format!("x-ms-ratelimit-remaining-subscription-{word}")));
        assert!(place.is_counted());
    }
    let place = turn(Method::Post, "/providers/x").await;
    assert_eq!((place.header(), place.is_counted()), (None, false));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_fills_at_its_pace_and_the_pace_rises_up_to_the_full_ones() {
    let lane = lane(10.0, 5.0);
    seconds(2).await;
    {
        let (bucket, _) = lane.filled();
        assert_eq!((bucket.tokens, bucket.rate), (20.0, 5.5));
    }
    seconds(1000).await;
    let (bucket, _) = lane.filled();
    assert_eq!((bucket.tokens, bucket.rate), (200.0, 10.0));
}

#[tokio::test(start_paused = true)]
async fn nine_turns_of_ten_are_for_early_calls_as_long_as_others_wait() {
    let lane = lane(100.0, 10.0);
    let mut bucket = lane.bucket();
    bucket.waiting = [1, 1];
    let mut turns = String::new();
    for _ in 0..20 {
        let is_turn = [Urgency::Early, Urgency::Usual].map(|urgency| bucket.is_turn_of(urgency));
        let (urgency, word) = if is_turn[0] { (Urgency::Early, 'e') } else { (Urgency::Usual, 'u') };
        assert_ne!(is_turn[0], is_turn[1], "one of the two, always");
        bucket.take(urgency);
        turns.push(word);
    }
    assert_eq!(turns, "eeeeeeeeeueeeeeeeeeu");
    assert_eq!((bucket.tokens, bucket.out), (80.0, 20));
    // Alone, each may go whenever it can.
    bucket.waiting = [1, 0];
    bucket.in_a_row = EARLY_TURNS;
    assert!(bucket.is_turn_of(Urgency::Early));
    bucket.take(Urgency::Early);
    assert_eq!(bucket.in_a_row, 0);
    bucket.waiting = [0, 1];
    assert!(bucket.is_turn_of(Urgency::Usual));
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_as_long_as_the_bucket_needs_or_is_closed() {
    let lane = lane(-5.0, 10.0);
    let mut bucket = lane.bucket();
    let now = Instant::now();
    assert_eq!(bucket.wait_for(1.0, now), Duration::from_millis(600));
    assert_eq!(bucket.wait_for(-5.0, now), Duration::ZERO);
    bucket.closed_until = now + Duration::from_secs(3);
    assert_eq!(bucket.wait_for(1.0, now), Duration::from_secs(3));
    assert_eq!(bucket.wait_for(35.0, now), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_have_a_turn_in_time_leaves_the_queue_at_once() {
    let lane = lane(50.0, 10.0);
    lane.bucket().closed_until = Instant::now() + PATIENCE;
    let enter = |after: Option<u64>, patience| {
        let deadline = after.map(|after| Instant::now() + Duration::from_secs(after));
        lane.clone().enter(Urgency::Early, deadline, patience)
    };
    assert_eq!(enter(None, PATIENCE - PAUSE).await.unwrap_err(), PATIENCE);
    assert_eq!(enter(Some(20), PATIENCE).await.unwrap_err(), PATIENCE);
    assert_eq!(lane.bucket().waiting, [0, 0]);
    let started = Instant::now();
    drop(enter(Some(21), PATIENCE).await.unwrap());
    assert_eq!(started.elapsed(), PATIENCE);
    assert_eq!(lane.bucket().waiting, [0, 0]);
    assert_eq!(lane.bucket().out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_slows_the_pace_down_once_a_second_and_never_to_a_halt() {
    let lane = lane(20.0, 10.0);
    let place = out(&lane);
    let started = Instant::now();
    place.learn(429, None, None);
    assert_eq!(state(&lane), (0.0, 7.0));
    assert_eq!(lane.bucket().closed_until, started + PAUSE);
    place.learn(429, None, Some(Duration::from_secs(5)));
    assert_eq!(lane.bucket().rate, 7.0, "those were on their way together");
    assert_eq!(lane.bucket().closed_until, started + Duration::from_secs(5));
    seconds(1).await;
    place.learn(429, None, None);
    assert!((lane.bucket().rate - 7.0 * 1.05 * 0.7).abs() < 1e-9);
    for _ in 0..30 {
        seconds(1).await;
        place.learn(429, None, None);
    }
    assert_eq!(lane.bucket().rate, 0.2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_tells_of_plenty_speeds_the_pace_up_and_others_share_is_left_to_them() {
    let lane = lane(0.0, 4.0);
    let places = [out(&lane), out(&lane), out(&lane)];
    let learn = |left: u32| {
        places[0].learn(200, Some(left), None);
        state(&lane)
    };
    assert_eq!(learn(50), (48.0, 4.0), "the two others are still out");
    assert_eq!(learn(51), (49.0, 5.0));
    assert_eq!(learn(190), (125.0, 6.25));
    assert_eq!(learn(190), (156.25, 7.8125));
    learn(190);
    assert_eq!(learn(190), (188.0, 10.0));
    drop(places);
    assert_eq!(lane.bucket().out, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_as_soon_as_an_answer_tells_of_more() {
    let lane = lane(0.0, 0.2);
    let place = out(&lane);
    let waiting = tokio::spawn(lane.clone().enter(Urgency::Usual, None, PATIENCE));
    tokio::task::yield_now().await;
    seconds(1).await;
    place.learn(200, Some(40), None);
    let told = Instant::now();
    waiting.await.unwrap().unwrap();
    assert_eq!(told.elapsed(), Duration::ZERO);
}
