/* Preloaded into a SIP host: whoever sends a packet of RTP waits just before it does. pjmedia copies each one there. */
#include <stddef.h>
#include <unistd.h>

#define PACKET 172 /* RFC 3550's header and 20 ms of PCMA */

void *memcpy(void *to, const void *from, size_t count)
{
    const unsigned char first = count ? *(const unsigned char *)from : 0;
    const int is_rtp = count == PACKET && first == 0x80;
    void *end = to;
    __asm__ volatile("rep movsb" : "+D"(end), "+S"(from), "+c"(count) : : "memory");
    if (is_rtp)
        usleep(8000);
    return to;
}
