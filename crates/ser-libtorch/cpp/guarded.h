// Exceptions of an entry point as messages.
#pragma once
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

// Runs `work`. Null, or the message of its exception on the heap, which the caller frees with ser_free.
template <typename Work>
char* guarded(const Work& work) {
  try {
    work();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}
