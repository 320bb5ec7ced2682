//! The end of a proxy: nobody may see a broken answer.

use super::*;
use crate::shutdown::Phase;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An upstream that answers when it is told to, and says when it was asked.
async fn gated() -> (
    Fake,
    tokio::sync::mpsc::UnboundedReceiver<()>,
    Arc<tokio::sync::Semaphore>,
) {
    let (arrived, arrivals) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let fake = Fake::talking(move |mut caller| {
        let (held, arrived) = (held.clone(), arrived.clone());
        async move {
            while read_request(&mut caller).await.is_some() {
                arrived.send(()).expect("a test that listens");
                held.acquire().await.expect("open").forget();
                caller
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    (fake, arrivals, gate)
}

#[tokio::test]
async fn while_draining_everyone_is_served_for_the_last_time() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut kept = house.caller().await;
    kept.send(GET).await;
    assert_eq!(kept.answer().await.header("connection"), Some("keep-alive"));
    house.trigger.enter(Phase::Draining);
    let mut new = house.caller().await;
    for caller in [&mut kept, &mut new] {
        caller.send(GET).await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(caller.is_closed().await);
    }
}

#[tokio::test]
async fn a_call_in_flight_finishes_and_newcomers_are_refused() {
    let (fake, mut arrivals, gate) = gated().await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller.send(GET).await;
    patient(arrivals.recv()).await.expect("the request");
    house.trigger.enter(Phase::Stopping);
    assert!(!house.proxy.drained(Duration::from_millis(20)).await);
    let refused = async {
        while TcpStream::connect(house.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    patient(refused).await;
    gate.add_permits(1);
    let answer = caller.answer().await;
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(house.proxy.drained(PATIENCE).await);
}

#[tokio::test]
async fn idle_connections_close_at_once_and_half_heads_are_heard_out() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut idle = house.caller().await;
    idle.send(GET).await;
    assert_eq!(idle.answer().await.status, 200);
    let mut half = house.caller().await;
    half.send(GET).await;
    assert_eq!(half.answer().await.status, 200);
    half.send("GET / HTTP/1.1\r\n").await;
    // The other connections were served since, so the half head was read too, or will be.
    assert_eq!(house.call(GET).await.status, 200);
    house.trigger.enter(Phase::Stopping);
    assert!(idle.is_closed().await);
    half.send("Host: a\r\n\r\n").await;
    let answer = half.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(house.proxy.drained(PATIENCE).await);
}

/// Method: the connection is new, and its first request begins only after the stop.
#[tokio::test]
async fn a_connection_that_was_never_used_may_still_say_what_it_came_for() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut new = house.caller().await;
    house.trigger.enter(Phase::Stopping);
    let refused = async {
        while TcpStream::connect(house.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    patient(refused).await;
    let ended = tokio::time::timeout(Duration::from_millis(200), new.0.readable()).await;
    assert!(ended.is_err(), "the connection was ended unheard");
    new.send(GET).await;
    assert_eq!(new.answer().await.status, 200);
    drop(new);
    assert!(house.proxy.drained(PATIENCE).await);
}

/// Method: requests are on their way on idle and on fresh connections at the moment of the stop.
/// Each must be answered whole, whoever was faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_the_stop_is_answered() {
    for _ in 0..20 {
        let fake = Fake::ok().await;
        let house = House::before(&fake).await;
        let mut callers = Vec::new();
        for _ in 0..10 {
            let mut idle = house.caller().await;
            idle.send(GET).await;
            assert_eq!(idle.answer().await.status, 200);
            callers.push(idle);
        }
        for _ in 0..10 {
            callers.push(house.caller().await);
        }
        for caller in &mut callers {
            caller.send(GET).await;
        }
        house.trigger.enter(Phase::Stopping);
        for caller in &mut callers {
            let answer = caller.answer().await;
            assert_eq!((answer.status, &*answer.body), (200, "ok"));
        }
        drop(callers);
        assert!(house.proxy.drained(PATIENCE).await);
    }
}

#[tokio::test]
async fn one_connection_more_than_may_be_waits_for_its_turn() {
    let fake = Fake::ok().await;
    let mut config = config(vec![upstream(&fake.url())], vec![route("all", "/")]);
    config.proxy.as_mut().expect("a proxy").connections_max = 1;
    let house = House::of(config).await;
    let mut first = house.caller().await;
    first.send(GET).await;
    assert_eq!(first.answer().await.status, 200);
    let mut second = house.caller().await;
    second.send(GET).await;
    let waits = tokio::time::timeout(Duration::from_millis(50), second.0.readable()).await;
    assert!(
        waits.is_err(),
        "the second connection was served beside the first"
    );
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}

/// The answer to a body that is refused unread must arrive, though the caller is still sending.
#[tokio::test]
async fn a_refusal_reaches_a_caller_who_is_still_sending() {
    let fake = Fake::ok().await;
    let house = House::before(&fake).await;
    let mut caller = house.caller().await;
    caller
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    let piece = vec![b'a'; 64 * 1024];
    for _ in 0..400 {
        caller.send_bytes(&piece).await;
    }
    assert_eq!(caller.answer().await.status, 413);
}

#[tokio::test]
async fn listeners_that_wait_hold_no_place() {
    let fake = Fake::ok().await;
    let mut config = config(vec![upstream(&fake.url())], vec![route("all", "/")]);
    config.proxy.as_mut().expect("a proxy").connections_max = 1;
    let house = House::listening(config, 3).await;
    // The last first, for the first listener was the first to wait.
    for address in house.proxy.addresses().iter().rev() {
        let tcp = TcpStream::connect(address).await.expect("a connection");
        let mut caller = Caller(tcp);
        caller.send(GET).await;
        assert_eq!(caller.answer().await.status, 200, "{address}");
    }
}
