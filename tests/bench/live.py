"""What share of the packets on lo a reader loses: wsdiag's beside scapy's own sniff and tcpdump.

Run as root: `python tests/bench/live.py [--seconds 2] [--flows]`. A small C program, compiled on the spot, sends TCP
segments of 120 bytes at a steady rate to a port that nobody listens on (to an address that nobody answers for); the
rows in which one in 200 of the packets is for the port show what the kernel's filter is worth.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PORT = 22000
RATES = ((1_000, 1000), (10_000, 1000), (20_000, 1000), (50_000, 1000), (100_000, 5))  # packets/s, matching per 1000

SENDER = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#define BATCH 512
#define SIZE (14 + 20 + 20 + 120)
static unsigned char packets[BATCH][SIZE];
int main(int argc, char **argv) {
    long rate = atol(argv[1]), matching = atol(argv[2]), milliseconds = atol(argv[3]), sent = 0, hits = 0;
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("lo"), .sll_halen = 6};
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    uint32_t sequence[16] = {0};
    for (int i = 0; i < BATCH; i++) {
        unsigned char *p = packets[i];
        p[12] = 8; p[14] = 0x45; p[16] = 0; p[17] = SIZE - 14; p[22] = 64; p[23] = 6;
        memcpy(p + 26, "\x7f\0\0\1\xc0\0\2\1", 8);
        p[46] = 0x50; p[47] = 0x10; p[48] = 0xff;
        memset(p + 54, 'x', 120);
        parts[i] = (struct iovec){p, SIZE};
        struct msghdr head = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &parts[i], .msg_iovlen = 1};
        messages[i].msg_hdr = head;
    }
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        double passed = (now.tv_sec - start.tv_sec) + (now.tv_nsec - start.tv_nsec) * 1e-9;
        if (passed * 1000 >= milliseconds) break;
        long due = (long)(passed * rate) - sent;
        if (due > BATCH) due = BATCH;
        if (due <= 0) { struct timespec nap = {0, 200000}; nanosleep(&nap, 0); continue; }
        for (long i = 0; i < due; i++) {
            unsigned char *p = packets[i];
            long number = sent + i;
            int hit = number % 1000 < matching, flow = number % 16;
            *(uint16_t *)(p + 34) = htons(40000 + flow);
            *(uint16_t *)(p + 36) = htons(hit ? 22000 : 22001);
            *(uint32_t *)(p + 38) = htonl(sequence[flow]);
            sequence[flow] += 120;
            hits += hit;
        }
        for (long done = 0; done < due;) {
            int n = sendmmsg(fd, messages + done, due - done, 0);
            if (n < 0) { perror("sendmmsg"); return 1; }
            done += n;
        }
        sent += due;
    }
    printf("%ld %ld\n", sent, hits);
    return 0;
}
"""

WSDIAG = f"""
from wsdiag.intake.live import open_live
with open_live("lo", ({PORT},)) as live:
    print("ready", flush=True)
    seen = live.run(lambda time, data, size: None)
print(seen.packets, seen.dropped)
"""

FLOWS = f"""
from wsdiag.diagnosis import diagnose_connection
from wsdiag.intake.live import open_live
from wsdiag.intake.survey import Survey
number = 0
def deliver(time, data, size):
    global number
    number += 1
    flows.packet(time, number, 1, data)
flows = Survey(frozenset([{PORT}]), "lo", diagnose_connection, lambda *found: None).flows
with open_live("lo", ({PORT},)) as live:
    print("ready", flush=True)
    seen = live.run(deliver)
print(seen.packets, seen.dropped)
"""

# scapy hands on both copies of each packet on lo; half of them are the packets.
SCAPY = f"""
import signal, threading
from scapy.sendrecv import AsyncSniffer
from scapy.layers import inet
seen = 0
def count(packet):
    global seen
    seen += 1
sniffer = AsyncSniffer(iface="lo", filter="tcp port {PORT}", prn=count, store=False,
                       started_callback=lambda: print("ready", flush=True))
sniffer.start()
stop = threading.Event()
signal.signal(signal.SIGINT, lambda *_: stop.set())
stop.wait()
sniffer.stop()
print(seen // 2, 0)
"""


def main() -> None:
    """Print a table: packets/s, and the share that each reader lost."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--flows", action="store_true", help="also wsdiag with its flow engine and verdicts behind it")
    chosen = options.parse_args()
    readers = {"wsdiag": [sys.executable, "-c", WSDIAG]}
    if chosen.flows:
        readers["wsdiag + flows"] = [sys.executable, "-c", FLOWS]
    if shutil.which("tcpdump"):
        readers["tcpdump -w"] = ["tcpdump", "-i", "lo", "-U", "-w", os.devnull, f"tcp port {PORT}"]
    readers["scapy sniff"] = [sys.executable, "-c", SCAPY]
    with tempfile.TemporaryDirectory() as folder:
        source, sender = Path(folder, "send.c"), Path(folder, "send")
        source.write_text(SENDER)
        subprocess.run(["cc", "-O2", "-o", sender, source], check=True)
        print(f"{'packets/s':>10} {'matching':>9}  " + "  ".join(f"{name:>14}" for name in readers))
        for rate, matching in RATES:
            shares = []
            for command in readers.values():
                sent, received, speed = measure(command, sender, rate, matching, chosen.seconds)
                shares.append(f"{max(0.0, 1 - received / sent):>8.2%} {speed / 1000:>4.0f}k")
            print(f"{rate:>10} {matching / 10:>8.1f}%  " + "  ".join(shares), flush=True)
    print("(lost share of the matching packets, and the speed that the sender reached)")


def measure(command: list[str], sender: Path, rate: int, matching: int, seconds: float) -> tuple[int, int, float]:
    """Matching packets sent, packets received, and all packets a second."""
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    dump = command[0] == "tcpdump"
    if dump:
        reader.stderr.readline()  # "tcpdump: listening on lo …"
    else:
        reader.stdout.readline()
    time.sleep(0.2)
    output = subprocess.run(
        [sender, str(rate), str(matching), str(int(seconds * 1000))], capture_output=True, text=True
    )
    total, sent = map(int, output.stdout.split())
    time.sleep(0.5)
    reader.send_signal(2)
    out, err = reader.communicate(timeout=60)
    received = int(err.split(" packets captured")[0].split()[-1]) if dump else int(out.split()[0])
    return sent, received, total / seconds


if __name__ == "__main__":
    main()
