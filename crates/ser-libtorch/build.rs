//! Compiles the shim against the libtorch that torch-sys found.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rustc-check-cfg=cfg(ser_openmp)");
    let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        // torch-sys was built for documentation only.
        return;
    };
    let lib = PathBuf::from(lib);
    // For the build scripts of crates that link binaries.
    println!("cargo:libtorch_lib={}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());

    let Some(generated) = env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    write_gpu_source(&generated);

    let mut shim = cc::Build::new();
    shim.cpp(true)
        .std("c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .warnings(false)
        .include(&generated)
        .include(lib.join("../include"))
        .include(lib.join("../include/torch/csrc/api/include"))
        .include("cpp/gloo")
        .files([
            "cpp/shim.cpp",
            "cpp/attention.cpp",
            "cpp/gpu_module.cpp",
            "cpp/gpu_rows.cpp",
            "cpp/product.cpp",
            "cpp/rows.cpp",
            "cpp/varlen.cpp",
            "cpp/dropout.cpp",
            "cpp/process_group.cpp",
            "cpp/kernel.cpp",
        ]);
    // libtorch's parallel loops are in its headers and run on one thread if compiled without OpenMP. libtorch uses GCC's
    // OpenMP, so another compiler's would add a second thread pool.
    if shim.get_compiler().is_like_gnu() {
        shim.flag("-fopenmp");
        link_openmp(&lib);
        println!("cargo:rustc-cfg=ser_openmp");
    } else {
        println!("cargo:warning=ser-libtorch: with a compiler other than GCC its kernels run on one thread");
    }
    shim.compile("ser_shim");

    // The kernels, once per instruction set; the shim selects one at run time.
    let x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let variants: &[(&str, &[&str])] = if x86 {
        &[
            ("baseline", &[]),
            ("avx2", &["-mavx2", "-mfma"]),
            ("avx512", &["-mavx512f", "-mavx512dq", "-mavx512vl", "-mfma"]),
            ("avx512bf16", &["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mfma"]),
        ]
    } else {
        &[("baseline", &[])]
    };
    for (name, flags) in variants {
        let mut kernel = cc::Build::new();
        kernel.cpp(true).std("c++17").opt_level(3).flag("-fno-math-errno").define("SER_ISA", *name);
        for flag in *flags {
            kernel.flag(flag);
        }
        kernel.files([
            "cpp/attention_kernel.cpp",
            "cpp/few_rows_kernel.cpp",
            "cpp/product_kernel.cpp",
            "cpp/rows_kernel.cpp",
        ]);
        kernel.compile(&format!("ser_kernel_{name}"));
    }
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    println!("cargo:rustc-link-lib=stdc++");
}

/// Writes the source of the GPU's kernels as a string of C++, for the shim, which compiles it at run time.
fn write_gpu_source(folder: &Path) {
    let written = std::fs::read_to_string("cpp/gpu_rows.cu")
        .and_then(|source| std::fs::write(folder.join("gpu_rows.cu.h"), format!("R\"cuda({source})cuda\"\n")));
    if let Err(error) = written {
        println!("cargo:warning=ser-libtorch: gpu_rows.cu.h could not be written: {error}");
    }
}

/// Links the OpenMP library that comes with libtorch, whatever its name is, or else the system's.
fn link_openmp(lib: &Path) {
    let names =
        std::fs::read_dir(lib).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    match names.filter(|name| name.starts_with("libgomp")).min() {
        Some(name) => println!("cargo:rustc-link-lib=dylib:+verbatim={name}"),
        None => println!("cargo:rustc-link-lib=gomp"),
    }
}
