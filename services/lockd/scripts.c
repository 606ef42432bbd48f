#include "lockd/scripts.h"

#include "scripts/extend.lua.h"
#include "scripts/forget.lua.h"
#include "scripts/grant.lua.h"
#include "scripts/init.lua.h"
#include "scripts/keep.lua.h"
#include "scripts/look.lua.h"
#include "scripts/mark.lua.h"
#include "scripts/raise.lua.h"
#include "scripts/reconfigure.lua.h"
#include "scripts/release.lua.h"

const char *const script_sources[SCRIPT_COUNT] = {
#define X(name, source) script_##source,
    SCRIPTS(X)
#undef X
};
