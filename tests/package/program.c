/* The least a program does with an installed Tessera: the version. */
#include <stdio.h>
#include <tessera.h>

int main(void)
{
    printf("tessera %s\n", tsr_version());
    return 0;
}
