/* The SIGINT handler: everything it touches is async-signal-safe. */
#include "cli/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t count;
static tsr_session *volatile watched;

static void on_sigint(int sig) {
    (void)sig;
    int saved = errno;
    if (++count >= 2) {
        /* Colours and bracketed paste off, so that the shell's terminal is as it was. */
        static const char reset[] = "\033[0m\033[?2004l\n";
        if (isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, reset, sizeof reset - 1);
        _exit(130);
    }
    if (watched) tsr_session_cancel(watched);
    errno = saved;
}

void interrupt_breaks_input(bool on) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_sigint;
    a.sa_flags = on ? 0 : SA_RESTART;
    sigaction(SIGINT, &a, NULL);
}

void interrupt_install(void) { interrupt_breaks_input(false); }

bool interrupted(void) { return count > 0; }

void interrupt_clear(void) { count = 0; }

void interrupt_watch(tsr_session *s) { watched = s; }
